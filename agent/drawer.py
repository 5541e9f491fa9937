"""The cash drawer: opened by an act of somebody who is named, and by nothing else.

Two acts open it: a cash payment on our own page, and `POST /v1/drawer` with the operator and a reason. A
drawer opens now or not at all (nobody may stand there later), so an act that could not be done is refused and
is not tried again by itself; the same act twice opens it once. Who opened it, and why, stands in the log.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from agent.drivers.contracts import OutputComplete, OutputEvent
from agent.inbox import OpenDrawer, Problem
from agent.outside import Outside
from loyalty.texts import N_

log = logging.getLogger(__name__)

ACTS_REMEMBERED = 64
PREFIX = "drawer/"

NO_DRAWER = N_("this till has no drawer: see drawer under [printer] in its configuration")
ACT_DIFFERS = N_("this act was another one; give a new act_id")


class Drawer:
    """The till's thread's. `has_drawer`: the configuration says that one hangs on the printer."""

    def __init__(self, outside: Outside, *, has_drawer: bool) -> None:
        self._outside = outside
        self._has_drawer = has_drawer
        self._asked: dict[str, OpenDrawer] = {}
        self._done: OrderedDict[str, OpenDrawer] = OrderedDict()

    def ask(self, ask: OpenDrawer) -> None:
        """Somebody asks for it; answered when it has opened, or has not. Raises Problem."""
        if not self._has_drawer:
            raise Problem(409, "no_drawer", NO_DRAWER)
        act = ask.body.act_id
        before = self._done.get(act) or self._asked.get(act)
        if before is not None and before.body != ask.body:
            raise Problem(409, "act_differs", ACT_DIFFERS)
        if act in self._done:
            ask.reply.set_result({"act_id": act})
        elif before is not None:
            raise Problem(503, "overloaded", N_("the till is busy; ask again in a second"))
        else:
            log.info("the drawer is opened by %s: %s", ask.body.operator, ask.body.reason)
            self._asked[act] = ask
            self._outside.open_drawer(PREFIX + act)

    def paid(self, sale_id: str) -> None:
        """A cash payment that was rung up on our own page."""
        if self._has_drawer:
            self._outside.open_drawer(f"{PREFIX}sale/{sale_id}")

    def opened(self, event: OutputEvent) -> bool:
        """How an act ended; False: this is about no drawer."""
        if not event.job_id.startswith(PREFIX):
            return False
        ask = self._asked.pop(event.job_id.removeprefix(PREFIX), None)
        if ask is None:
            return True
        if isinstance(event, OutputComplete):
            self._done[ask.body.act_id] = ask
            while len(self._done) > ACTS_REMEMBERED:
                self._done.popitem(last=False)
            ask.reply.set_result({"act_id": ask.body.act_id})
        else:
            ask.reply.set_exception(Problem(409, "drawer_not_opened", event.reason))
        return True
