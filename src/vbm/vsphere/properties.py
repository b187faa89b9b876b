"""Reading many objects' properties in one paged pass, however large the inventory.

RetrievePropertiesEx answers a page and a token; tokens and views die with the session. So a pass that loses
its session or its connection starts again and passes over the objects that it has already yielded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from vbm.errors import VbmError
from vbm.vsphere.faults import (
    BusyError,
    ConnectionLostError,
    ObjectGoneError,
    SessionLostError,
    VsphereFaultError,
)
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim, vmodl

PAGE: Final = 500
_STARTS: Final = 5
_TOKEN_FAULTS: Final = ("InvalidProperty", "InvalidArgument", "InvalidType", "InvalidCollectorVersion")
_log = logging.getLogger(__name__)

Wanted = Mapping[str, Sequence[str]]  # vim type name, such as "VirtualMachine" → property paths


def collect(
    session: Session, wanted: Wanted, *, page_size: int = PAGE
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Every object of those types below the root folder, with its properties, each once.

    Properties that are unset or that the account may not read are absent. Holds one page at a time.
    """
    seen: set[str] = set()
    for start in range(_STARTS):
        try:
            for reference, values in _one_pass(session, wanted, page_size):
                if reference._moId not in seen:
                    seen.add(reference._moId)
                    yield reference, values
            return
        except VbmError as error:
            if start == _STARTS - 1 or not _worth_another_start(error):
                raise
            _log.info("the inventory pass at %s begins again after: %s", session.where, error.message)


def properties_of(session: Session, reference: Any, paths: Sequence[str]) -> dict[str, Any]:
    """Some properties of one object in one call; unset ones are absent. Raises ObjectGoneError."""
    return next(iter(properties_of_each(session, [reference], paths).values()), {})


def properties_of_each(
    session: Session, references: Sequence[Any], paths: Sequence[str], *, kind: Any = None
) -> dict[str, dict[str, Any]]:
    """Moref → properties, in one call, for tens of objects of one type or all of types below ``kind``."""
    if not references:
        return {}
    pc = vmodl.query.PropertyCollector
    spec = pc.FilterSpec(
        objectSet=[pc.ObjectSpec(obj=r, skip=False) for r in references],
        propSet=[pc.PropertySpec(type=kind or type(references[0]), all=False, pathSet=list(paths))],
    )
    result = session.read(lambda c: c.propertyCollector.RetrievePropertiesEx([spec], pc.RetrieveOptions()))
    found: dict[str, dict[str, Any]] = {}
    while result is not None:
        found.update({o.obj._moId: _values(o) for o in result.objects})
        token = result.token
        if not token:
            break
        result = session.read(_next_page(token))
    return found


def _one_pass(session: Session, wanted: Wanted, page_size: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    types = {name: getattr(vim, name) for name in wanted}
    pc = vmodl.query.PropertyCollector
    view = session.read(
        lambda c: c.viewManager.CreateContainerView(c.rootFolder, list(types.values()), recursive=True)
    )
    try:
        walk = pc.TraversalSpec(name="in-view", type=vim.view.ContainerView, path="view", skip=False)
        spec = pc.FilterSpec(
            objectSet=[pc.ObjectSpec(obj=view, skip=True, selectSet=[walk])],
            propSet=[
                pc.PropertySpec(type=types[name], all=False, pathSet=list(paths))
                for name, paths in wanted.items()
            ],
        )
        options = pc.RetrieveOptions(maxObjects=page_size)
        result = session.call(lambda c: c.propertyCollector.RetrievePropertiesEx([spec], options))
        while result is not None:
            token = result.token
            for found in result.objects:
                yield found.obj, _values(found)
            if not token:
                return
            result = session.call(_next_page(token))
    finally:
        _destroy(session, view)


def _next_page(token: str) -> Callable[[Any], Any]:
    return lambda content: content.propertyCollector.ContinueRetrievePropertiesEx(token)


def _values(found: Any) -> dict[str, Any]:
    return {p.name: p.val for p in found.propSet or ()}


def _destroy(session: Session, view: Any) -> None:
    try:
        session.call(lambda _c: view.DestroyView())
    except VbmError as error:
        _log.debug("a view was not destroyed: %s", error.message)  # it goes with the session


def _worth_another_start(error: VbmError) -> bool:
    if isinstance(error, VsphereFaultError):
        return error.context.get("fault") in _TOKEN_FAULTS
    return isinstance(error, (ConnectionLostError, SessionLostError, ObjectGoneError, BusyError))
