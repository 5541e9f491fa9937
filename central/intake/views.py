"""The machine API (ledger-sync.md §7): bytes in, bytes out, and a word for every refusal.

A request that cannot be a message is answered 400, one that is too large 413, before anything is
looked up. Nothing here writes a body, a session or a code to a log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import msgspec
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError, transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from central import clock
from central.fleet import enrolment, lives, timeline
from central.fleet.models import Till
from central.home import Home
from central.intake import accept, corrections
from central.ledger import applier, grants
from central.members import accounts, directory
from central.rules import publishing, store_settings
from central.rules.models import Publication, PublicationFile
from loyalty import ledger, wire
from loyalty.protocol.intake import Refused

log = logging.getLogger(__name__)

SMALL_MESSAGE_BYTES = 64 * 1024
BUSY_RETRY_S = 5
KEY_BYTES = 32
CARD_KEY_MAX = 2**63
MIN_DELAY_S = 0

P = ParamSpec("P")
M = TypeVar("M", bound=msgspec.Struct)
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def machine(method: str) -> Callable[[View[P]], View[P]]:
    """A view of the machine API: one method, no CSRF (there is no cookie), refusals packed."""

    def decorate(view: View[P]) -> View[P]:
        @csrf_exempt
        @wraps(view)
        def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                if request.method == method:
                    return view(request, *args, **kwargs)
                return _refusal(Refused(405, "METHOD", f"use {method} here"))
            except Refused as refusal:
                return _refusal(refusal)
            except OperationalError:
                log.exception("the database did not answer in time")
                response = _refusal(Refused(503, "BUSY", "the database is busy; come again"))
                response["Retry-After"] = str(BUSY_RETRY_S)
                return response

        return answer

    return decorate


@machine("POST")
def enroll(request: HttpRequest) -> HttpResponse:
    """A one-time code and a public key -> a till."""
    message = _message(request, wire.EnrollRequest, SMALL_MESSAGE_BYTES)
    if message.v != wire.WIRE_VERSION:
        raise Refused(426, "TOO_OLD", f"wire {message.v}; this centre speaks {wire.WIRE_VERSION}")
    if len(message.public_key) != KEY_BYTES:
        raise Refused(400, "BAD_MESSAGE", f"a public key has {KEY_BYTES} bytes")
    try:
        reply = enrolment.enrol(message)
    except enrolment.CodeError as error:
        raise Refused(403, error.code, str(error)) from error
    log.info("till %s of store %s enrolled, epoch %d", reply.till, reply.store, reply.epoch)
    return _answer(reply)


@machine("POST")
def sync(request: HttpRequest, till: str) -> HttpResponse:
    """Everything a till has to say; everything the centre has for it."""
    message = _message(request, wire.SyncRequest, wire.MESSAGE_MAX_BYTES)
    the_till = _till(till)
    accepted = accept.accept(the_till, message)
    applier.apply_waiting(accepted.buckets)
    timeline.lift_fence()
    if not accepted.again:  # the work was done when it was said first; what is left of it can wait
        grants.place_due(the_till.store)
    store_settings.keep_fresh(the_till.store)
    heard = {} if message.adopting else message.down
    down = () if accepted.late else grants.down_after(the_till.id, heard, turn=clock.now_s())
    reply = wire.SyncReply(
        timeline=accepted.timeline,
        next_seq=accepted.next_seq,
        durable_seq=accepted.durable_seq,
        session=accepted.session,
        down=down,
        signature=b"",
        manifests=publishing.newest_versions(publishing.channels_of(the_till.store_id)),
        server_ms=clock.now_ms(),
        min_delay_s=MIN_DELAY_S,
        quarantined=lives.quarantined(the_till),
        down_signature=grants.sign_down(the_till.id, accepted.timeline, down),
        ended=accepted.late,
    )
    home: Home = settings.HOME
    signature = home.reply_key.sign(wire.reply_signing_bytes(the_till.id, message, reply))
    return _answer(msgspec.structs.replace(reply, signature=signature))


@machine("POST")
def claim(request: HttpRequest, till: str) -> HttpResponse:
    """Points are wanted at a counter, now."""
    the_till = _own(request, till)
    return _answer(grants.claim(the_till, _message(request, wire.ClaimRequest, SMALL_MESSAGE_BYTES)))


@machine("POST")
def restore(request: HttpRequest, till: str) -> HttpResponse:
    """A till was restored from a backup, and shows by its key that it is the one."""
    message = _message(request, wire.RestoreRequest, SMALL_MESSAGE_BYTES)
    reply = accept.restore(_till(till), message)
    log.warning("till %s was restored from a backup; it is in epoch %d now", till, reply.epoch)
    return _answer(reply)


@machine("GET")
def log_of(request: HttpRequest, till: str) -> HttpResponse:
    """A till's own log, for one that has lost the end of it."""
    the_till = _own(request, till)
    numbers = [request.GET.get(name, "") for name in ("epoch", "from")]
    if not all(number.isascii() and number.isdigit() and len(number) < 19 for number in numbers):
        raise Refused(400, "BAD_MESSAGE", "write ?epoch=1&from=1")
    epoch, first_seq = map(int, numbers)
    return _answer(accept.log_of(the_till, epoch, first_seq))


@machine("POST")
def lookup(request: HttpRequest, till: str) -> HttpResponse:
    """Whose card is this? Points that are due at the till's shop are placed, at once or soon."""
    the_till = _own(request, till)
    message = _message(request, wire.LookupRequest, SMALL_MESSAGE_BYTES)
    if not 0 <= message.card_key < CARD_KEY_MAX:
        raise Refused(400, "BAD_MESSAGE", "a card key has 63 bits")
    account = directory.by_card_key(message.card_key)
    if account is not None:
        grants.place_account(the_till, account.account)
    with transaction.atomic():
        account = directory.by_card_key(message.card_key)  # it may have got its home just now
        member = directory.member(account, the_till) if account else None
    return _answer(wire.LookupReply(member, clock.now_ms()))


@machine("GET")
def receipt(request: HttpRequest, ref: str) -> HttpResponse:
    """What another till sold, by the last line of its slip: its goods come back here."""
    the_till = _authorised(request)
    with transaction.atomic():
        found = corrections.receipt(ref)
        account = ledger.parse(found.entry).account
        owner = accounts.owner(account) if account is not None else None
    reply = msgspec.structs.replace(found, owner=owner)
    home: Home = settings.HOME
    signature = home.reply_key.sign(wire.receipt_signing_bytes(the_till.id, ref, reply))
    return _answer(msgspec.structs.replace(reply, signature=signature))


@machine("GET")
def channel_manifest(request: HttpRequest, channel: str) -> HttpResponse:
    """The newest manifest of a channel, byte by byte as it was signed."""
    the_till = _authorised(request)
    if channel not in publishing.channels_of(the_till.store_id):
        raise Refused(403, "FORBIDDEN", "this till does not read that channel")
    publication = publishing.newest(channel)
    if publication is None:
        raise Refused(404, "NOT_FOUND", "nothing was published on that channel yet")
    signatures = {key_id: bytes.fromhex(value) for key_id, value in publication.signatures.items()}
    return _answer(wire.ManifestReply(bytes(publication.manifest), signatures))


@machine("GET")
def file(request: HttpRequest, sha256: str) -> HttpResponse:
    """The content of this hash, where some version of a channel that the till reads names it."""
    the_till = _authorised(request)
    readable = Publication.objects.filter(channel__in=publishing.channels_of(the_till.store_id))
    use = (
        PublicationFile.objects.filter(blob_id=sha256, publication__in=readable)
        .select_related("blob")
        .first()
    )
    if use is None:
        raise Refused(404, "NOT_FOUND", "no channel of this till names such a file")
    response = HttpResponse(bytes(use.blob.content), content_type="application/octet-stream")
    response["Cache-Control"] = "private, max-age=31536000, immutable"
    return response


def not_found(request: HttpRequest, path: str) -> HttpResponse:
    """What is no part of the machine API."""
    return _refusal(Refused(404, "NOT_FOUND", "there is no such call"))


not_found = csrf_exempt(not_found)


def _message(request: HttpRequest, kind: type[M], max_bytes: int) -> M:
    try:
        body = request.body
    except RequestDataTooBig as error:
        raise Refused(413, "TOO_LARGE", f"more than {max_bytes} bytes; send less at once") from error
    if len(body) > max_bytes:
        raise Refused(413, "TOO_LARGE", f"{len(body)} bytes; at most {max_bytes} here, send less at once")
    try:
        return wire.unpack(kind, body, max_bytes)
    except wire.TooLargeError as error:
        raise Refused(413, "TOO_LARGE", f"{error}; send less at once") from error
    except wire.WireError as error:
        raise Refused(400, "BAD_MESSAGE", str(error)) from error


def _till(till: str) -> Till:
    found = Till.objects.select_related("store").filter(id=till).first()
    if found is None:
        raise Refused(401, "NOT_ENROLLED", "there is no such till; enrol it first")
    return found


def _own(request: HttpRequest, till: str) -> Till:
    return accept.own_till(request.headers.get("Authorization", ""), till)


def _authorised(request: HttpRequest) -> Till:
    return accept.authorised(request.headers.get("Authorization", ""))


def _answer(message: msgspec.Struct) -> HttpResponse:
    response = HttpResponse(wire.pack(message), content_type=wire.CONTENT_TYPE)
    response["Cache-Control"] = "no-store"
    return response


def _refusal(refusal: Refused) -> HttpResponse:
    message = wire.Refusal(refusal.code, str(refusal), refusal.next_seq)
    if isinstance(refusal, accept.TimelineChanged):
        message = msgspec.structs.replace(
            message,
            timeline=refusal.timeline,
            heard_in=refusal.heard_in,
            down=refusal.down,
            epochs=refusal.epochs,
        )
    return HttpResponse(wire.pack(message), content_type=wire.CONTENT_TYPE, status=refusal.http)
