"""ViewManager, ContainerView and ListView: sets of objects that a client wants to look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vbm.lab.errors import WireFault, refusal
from vbm.lab.model import LabFault
from vbm.lab.objects.base import ManagedObject, operation, prop
from vbm.lab.soap import Call
from vbm.lab.tree import children_of
from vbm.lab.views import View
from vbm.lab.vmodl import reference, support, type_name, vim


class ViewManager(ManagedObject):
    type_name = "ViewManager"

    @prop("viewList")
    def view_list(self) -> Any:
        return [reference(_kind(view), view.moid) for view in self.context.views.all()]

    @operation("CreateContainerView")
    def create_container_view(self, call: Call) -> Any:
        container = self.context.find(call.args.container, call.session)
        if not issubclass(container.vim_type, vim.ManagedEntity):
            raise refusal("InvalidArgument", "not a container", invalidProperty="container")
        names = [type_name(kind) for kind in call.args.type]
        view = self.context.views.add(
            call.session.key, container=call.args.container, types=names, recursive=bool(call.args.recursive)
        )
        return reference("ContainerView", view.moid)

    @operation("CreateListView")
    def create_list_view(self, call: Call) -> Any:
        view = self.context.views.add(call.session.key, members=[*call.args.obj])
        return reference("ListView", view.moid)


def _kind(view: View) -> str:
    return "ListView" if view.container is None else "ContainerView"


class ContainerView(ManagedObject):
    type_name = "ContainerView"

    def __init__(self, context: Any, view: View) -> None:
        super().__init__(context, view.moid)
        self.record = view

    @prop("container")
    def container(self) -> Any:
        return self.record.container

    @prop("type")
    def types(self) -> Any:
        return [support.GetWsdlType("urn:vim25", name) for name in self.record.types]

    @prop("recursive")
    def recursive(self) -> bool:
        return self.record.recursive

    @prop("view")
    def view(self) -> Any:
        kinds = tuple(self.types()) or (vim.ManagedEntity,)
        return [ref for ref in self._inside(self.record.container) if isinstance(ref, kinds)]

    def _inside(self, container: Any) -> Iterator[Any]:
        stack = [*reversed(self._children(container))]
        seen = set()  # a machine lies in a folder, in a pool and on a host
        while stack:
            ref = stack.pop()
            if ref._moId in seen:
                continue
            seen.add(ref._moId)
            yield ref
            if self.record.recursive:
                stack += reversed(self._children(ref))

    def _children(self, ref: Any) -> list[Any]:
        try:
            return children_of(self.context.state, ref)
        except (LabFault, WireFault):
            return []

    @operation("DestroyView")
    def destroy(self, call: Call) -> None:  # noqa: ARG002
        self.context.views.remove(self.moid)


class ListView(ManagedObject):
    type_name = "ListView"

    def __init__(self, context: Any, view: View) -> None:
        super().__init__(context, view.moid)
        self.record = view

    @prop("view")
    def view(self) -> Any:
        return [*self.record.members]

    @operation("ModifyListView")
    def modify(self, call: Call) -> Any:
        gone = {ref._moId for ref in call.args.remove}
        self.record.members = [ref for ref in self.record.members if ref._moId not in gone] + [*call.args.add]
        self.context.changes.notify()
        return []

    @operation("ResetListView")
    def reset(self, call: Call) -> Any:
        self.record.members = [*call.args.obj]
        self.context.changes.notify()
        return []

    @operation("DestroyView")
    def destroy(self, call: Call) -> None:  # noqa: ARG002
        self.context.views.remove(self.moid)
