"""A till as it is sold, and an office as it runs, in one process: only the wire between them is short.

The link is up while a story calls `sync`, `ask` or `claim`, and down otherwise.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from office import Office
from pretend_till import PretendTill, ask, in_process

from agent.inbox import ApplyAsked, Claimed, LinkChanged, LoadBatchAsked, LookedUp
from agent.sync import machine, trust
from agent.sync.machine import SyncMachine
from central.fleet import enrolment
from loyalty import card, wire
from loyalty.wire import ClaimReply, LookupReply, LookupRequest, Member, Refusal, SyncReply, SyncRequest
from tests.agent.shop import RULEBOOK, SETTINGS, Shop


class RealTill(Shop):
    """One till of `store`, enrolled at the office; its clock is the office's when it is opened."""

    def __init__(
        self,
        office: Office,
        directory: Path,
        *,
        store: str = "S1",
        rulebook: Any = RULEBOOK,
        settings: Any = SETTINGS,
    ) -> None:
        directory.mkdir(parents=True)
        self.key = Ed25519PrivateKey.generate()
        _, code = enrolment.new_code(store, None)
        told = PretendTill.enrolled(code, self.key).enrolment
        super().__init__(directory, rulebook=rulebook, settings=settings, enrolled=told)
        self.id = told.till
        self.wall_s = office.now_ms // 1000

    def sync(self) -> None:
        """Everything said and everything applied, by the till's own machine; then the link is gone."""
        sync = SyncMachine(
            self.id,
            sign=partial(trust.sign, self.key),
            is_ours=partial(trust.reply_is_ours, self.enrolled.reply_key, self.id),
            interval_s=60,
        )
        effects: list[machine.Effect] = list(sync.step(machine.Woken()))
        while effects:
            match effects.pop(0):
                case machine.LoadBatch(limit, adopt):
                    load = LoadBatchAsked(limit, adopt)
                    self.till.handle(load)
                    effects += sync.step(machine.BatchLoaded(load.reply.result(0)))
                case machine.PostSync(request):
                    effects += sync.step(self._post(request))
                case machine.Apply() as effect:
                    apply = ApplyAsked(effect)
                    self.till.handle(apply)
                    effects += sync.step(machine.Applied(apply.reply.result(0)))
                case machine.LinkUp():
                    self.till.handle(LinkChanged(None, ""))
                case machine.LinkDown(word, detail):
                    raise AssertionError(f"{word}: {detail}")
                case machine.Sleep():
                    break
        self.link_is_down()

    def _post(self, request: SyncRequest) -> machine.Event:
        status, body = in_process("POST", f"/v1/tills/{self.id}/sync", wire.pack(request), {})
        if status != 200:
            return machine.Refused(status, wire.unpack(Refusal, body))
        return machine.Replied(wire.unpack(SyncReply, body))

    def link_is_down(self) -> None:
        self.till.handle(LinkChanged("unreachable", "the cable is out"))

    def link_is_up(self) -> None:
        self.till.handle(LinkChanged(None, ""))

    def ask(self, number: str) -> Member | None:
        """The till looks a card up, and takes in what it hears."""
        key = self.key_of(number)
        request = LookupRequest(wire.WIRE_VERSION, key)
        member = self._call("lookup", request, LookupReply).member
        self.till.handle(LookedUp(key, member))
        return member

    def claims_are_answered(self) -> None:
        """The office answers whatever the till has claimed."""
        while self.outside.claims:
            request = self.outside.claims.pop()
            self.till.handle(Claimed(request, self._call("claim", request, ClaimReply)))

    def key_of(self, number: str) -> int:
        return card.card_key(self.enrolled.chain_key, "card", number)

    def _call(self, path: str, request: Any, kind: type[wire.T]) -> wire.T:
        headers = {"Authorization": f"Kopilka {self.id}:{self.ledger.uplink().session}"}
        return ask(in_process, "POST", f"/v1/tills/{self.id}/{path}", request, kind, headers)
