"""PropertyCollector and PropertyFilter: properties of many objects in one call, in pages, or as they change."""

from __future__ import annotations

import itertools
from typing import Any

from vbm.lab.errors import refusal
from vbm.lab.objects.base import ManagedObject, operation, prop
from vbm.lab.property_filters import PAGE_OBJECTS, Collector, Filter, wait_for_updates
from vbm.lab.property_specs import Evaluation, render
from vbm.lab.soap import Call, Raw
from vbm.lab.vmodl import reference

_UNLIMITED = 1 << 30


class PropertyCollector(ManagedObject):
    type_name = "PropertyCollector"

    def __init__(self, context: Any, moid: str, collector: Collector) -> None:
        super().__init__(context, moid)
        self.collector = collector

    @prop("filter")
    def _filter(self) -> Any:
        return [reference("PropertyFilter", moid) for moid in self.collector.filters]

    @operation("RetrieveProperties")
    def retrieve_properties(self, call: Call) -> Raw:
        return Raw([render("returnval", content) for content in self._contents(call)])

    @operation("RetrievePropertiesEx")
    def retrieve_properties_ex(self, call: Call) -> Raw:
        limit = call.args.options.maxObjects if call.args.options else None
        return self._page(self._contents(call), limit or PAGE_OBJECTS, empty_is_none=True)

    def _contents(self, call: Call) -> Any:
        for spec in call.args.specSet:
            yield from Evaluation(self.context, call.session, spec, call.version).contents()

    @operation("ContinueRetrievePropertiesEx")
    def continue_retrieve(self, call: Call) -> Raw:
        with self.collector.lock:
            rest = self.collector.pages.pop(call.args.token, None)
        if rest is None:
            raise refusal("InvalidProperty", "no such token", name="token")
        limit = int(call.args.token.rpartition("/")[2])
        return self._page(rest, limit, empty_is_none=False)

    def _page(self, contents: Any, limit: int, *, empty_is_none: bool) -> Raw:
        """One page; what is left waits under a token for the next call, evaluated lazily."""
        page = [*itertools.islice(contents, limit)]
        following = next(contents, None) if len(page) == limit else None
        if not page and empty_is_none:
            return Raw()
        parts = ["<returnval>"]
        if following is not None:
            token = f"{self.context.collectors.number()}/{limit}"
            with self.collector.lock:
                self.collector.pages[token] = itertools.chain([following], contents)
            parts.append(f"<token>{token}</token>")
        parts += [render("objects", content) for content in page]
        parts.append("</returnval>")
        return Raw(parts)

    @operation("CancelRetrievePropertiesEx")
    def cancel_retrieve(self, call: Call) -> None:
        with self.collector.lock:
            self.collector.pages.pop(call.args.token, None)

    @operation("CreateFilter")
    def create_filter(self, call: Call) -> Any:
        for content in Evaluation(self.context, call.session, call.args.spec, call.version).contents():
            del content  # a filter that can't be evaluated is refused at once
            break
        key = call.session.key if call.session else ""
        moid = f"session[{key}]{self.context.collectors.number()}"
        self.collector.filters[moid] = Filter(moid, call.args.spec, bool(call.args.partialUpdates))
        self.context.changes.notify()
        return reference("PropertyFilter", moid)

    @operation("CreatePropertyCollector")
    def create_property_collector(self, call: Call) -> Any:
        key = call.session.key if call.session else ""
        moid = f"session[{key}]pc{self.context.collectors.number()}"
        self.context.collectors.find(moid, call.session, create=True)
        return reference("PropertyCollector", moid)

    @operation("DestroyPropertyCollector")
    def destroy(self, call: Call) -> None:  # noqa: ARG002
        self.context.collectors.remove(self.collector)

    @operation("WaitForUpdatesEx")
    def wait_for_updates_ex(self, call: Call) -> Raw:
        options = call.args.options
        seconds = options.maxWaitSeconds if options else None
        limit = (options.maxObjectUpdates if options else None) or _UNLIMITED
        return self._wait(call, seconds, limit)

    @operation("WaitForUpdates")
    def wait_for_updates(self, call: Call) -> Raw:
        return self._wait(call, None, _UNLIMITED)

    @operation("CheckForUpdates")
    def check_for_updates(self, call: Call) -> Raw:
        return self._wait(call, 0, _UNLIMITED)

    def _wait(self, call: Call, seconds: float | None, limit: int) -> Raw:
        text = wait_for_updates(
            self.context, self.collector, call.args.version or "", call.version, (seconds, limit)
        )
        return Raw([f"<returnval>{text}</returnval>"] if text is not None else [])

    @operation("CancelWaitForUpdates")
    def cancel_wait(self, call: Call) -> None:  # noqa: ARG002
        self.collector.cancelled = True
        self.context.changes.notify()


class PropertyFilter(ManagedObject):
    type_name = "PropertyFilter"

    def __init__(self, context: Any, moid: str, collector: Collector, one: Filter) -> None:
        super().__init__(context, moid)
        self.collector = collector
        self.filter = one

    @prop("spec")
    def _spec(self) -> Any:
        return self.filter.spec

    @prop("partialUpdates")
    def _partial(self) -> bool:
        return self.filter.partial

    @operation("DestroyPropertyFilter")
    def destroy(self, call: Call) -> None:  # noqa: ARG002
        self.collector.filters.pop(self.moid, None)
