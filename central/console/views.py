"""The pages of the console. Everything asks for a login first."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from central import clock, status
from central.console import incidents
from central.console.account_page import account_page
from central.console.fleet_page import till_lines
from central.members import directory, merging

QUERY_MAX_CHARS = 100


@require_GET
@login_required
@never_cache
def front(request: HttpRequest) -> HttpResponse:
    """Where everything begins: the state of the tills in a line, and the search."""
    lines = till_lines()
    late = [line for line in lines if line.mood == "bad"]
    context = {
        "tills": len(lines),
        "late": late,
        "incidents": incidents.newest(),
        "warnings": status.warnings(status.read()),
    }
    return render(request, "console/front.html", context)


@require_GET
@login_required
@never_cache
def tills(request: HttpRequest) -> HttpResponse:
    """Every till: is it alive, is it behind, which rules does it price by."""
    return render(request, "console/tills.html", {"lines": till_lines(), "now": clock.utc(clock.now_ms())})


@require_http_methods(["GET", "POST"])
@login_required
@never_cache
def find_account(request: HttpRequest) -> HttpResponse:
    """Find an account by the number of a card, or by its own."""
    problem = ""
    if request.method == "POST":
        query = request.POST.get("query", "")[:QUERY_MAX_CHARS].strip()
        found = merging.find(query)
        if found is not None:
            return redirect("account", account=found.account)
        problem = gettext("No account has this card or number. Check the digits, or import the card first.")
    return render(request, "console/find_account.html", {"problem": problem})


@require_GET
@login_required
@never_cache
def account(request: HttpRequest, account: int) -> HttpResponse:
    """One account: balance, lots and where they are, entries newest first."""
    found = directory.by_account(account) if account < 10**merging.ACCOUNT_DIGITS else None
    if found is None:
        raise Http404
    return render(request, "console/account.html", {"page": account_page(found, request.GET.get("before"))})
