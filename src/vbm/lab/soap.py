"""SOAP as vim25 speaks it, from the server's side: a request becomes a Call, a result or fault becomes XML.

Hostile input is bounded: no document type, no entities, a limit on size; whatever else is malformed
raises BadRequestError. Values are (de)serialised by pyVmomi's own code.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from io import StringIO
from types import SimpleNamespace
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

import pyVmomi.SoapAdapter

from vbm.lab.vmodl import XML_NAMESPACE, support, vmodl

MAX_REQUEST_BYTES = 8 << 20

_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_SEPARATOR = " "
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    f'<soapenv:Envelope xmlns:soapenv="{_SOAP}" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
)
_TAIL = "</soapenv:Body></soapenv:Envelope>"
_adapter: Any = pyVmomi.SoapAdapter
NAMESPACES = {
    XML_NAMESPACE: "",
    "http://www.w3.org/2001/XMLSchema-instance": "xsi",
    "http://www.w3.org/2001/XMLSchema": "xsd",
}

# What pyVmomi calls to read one property; it is in no WSDL.
_FETCH = support.Object(
    name="Fetch",
    wsdlName="Fetch",
    version=support.BASE_VERSION,
    params=(support.Object(name="prop", type=str, version=support.BASE_VERSION, flags=0),),
    isTask=False,
    resultFlags=support.F_OPTIONAL,
    result=object,
    methodResult=object,
    privId="System.Anonymous",
)


class BadRequestError(Exception):
    """The request can't be understood; ``method`` is set where it is well-formed but names nothing known."""

    def __init__(self, message: str, method: str = "") -> None:
        super().__init__(message)
        self.method = method


class Args(SimpleNamespace):
    """A method's arguments by their names on the wire; what was not given is None, a list is empty."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@dataclass(slots=True)
class Call:
    """One method call as it came in."""

    method: str
    info: Any
    this: Any
    args: Args
    version: str
    session: Any = None
    local_address: tuple[str, int] = ("127.0.0.1", 443)


@dataclass(slots=True)
class Raw:
    """A result that is XML already: the elements inside ``<…Response>``."""

    parts: list[str] = field(default_factory=list)


class _RequestParser(_adapter.ExpatDeserializerNSHandlers):  # type: ignore[misc]
    """Walks Envelope/Body/method/parameter; each parameter is handed to pyVmomi's deserialiser."""

    def __init__(self) -> None:
        super().__init__({})
        self.parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        self.parser.buffer_text = True
        self.parser.buffer_size = 1 << 16
        self.parser.StartDoctypeDeclHandler = _refuse
        self.parser.EntityDeclHandler = _refuse
        self.path: list[str] = []
        self.info: Any = None
        self.values: dict[str, Any] = {}
        self.pending: tuple[str, bool] | None = None
        self.deserializer = _adapter.SoapDeserializer(None)
        _adapter.SetHandlers(self.parser, _adapter.GetHandlers(self))

    def StartElementHandler(self, tag: str, attributes: dict[str, str]) -> None:  # noqa: N802 - expat's name
        self._collect()
        self.path.append(tag)
        if len(self.path) == 3 and self.path[1] == f"{_SOAP}{_SEPARATOR}Body":
            self._begin_method(tag)
        elif len(self.path) == 4 and self.info is not None:
            self._begin_parameter(tag, attributes)

    def CharacterDataHandler(self, data: str) -> None:  # noqa: N802
        pass

    def EndElementHandler(self, tag: str) -> None:  # noqa: N802, ARG002
        self._collect()
        self.path.pop()

    def _begin_method(self, tag: str) -> None:
        if self.info is not None:
            raise BadRequestError("more than one method in the body")
        namespace, _, name = tag.rpartition(_SEPARATOR)
        self.info = _method_info(namespace, name)

    def _begin_parameter(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(_SEPARATOR)[2]
        if name == "_this":
            kind, many = support.ManagedObject, False
        else:
            param = next((p for p in self.info.params if p.name == name), None)
            if param is None:
                raise BadRequestError(f"{self.info.wsdlName} has no parameter {name!r}")
            many = issubclass(param.type, list)
            kind = param.type.Item if many else param.type
        self.pending = (name, many)
        self.path.pop()  # the deserialiser takes this element's end
        self.deserializer.result = None
        self.deserializer.Deserialize(self.parser, kind, False, self.nsMap)
        self.deserializer.StartElementHandler(tag, attributes)

    def _collect(self) -> None:
        if self.pending is None:
            return
        name, many = self.pending
        self.pending = None
        value = self.deserializer.GetResult()
        if many and isinstance(value, list):
            self.values.setdefault(name, []).extend(value)
        elif many:
            self.values.setdefault(name, []).append(value)
        else:
            self.values[name] = value


def _refuse(*_: object) -> None:
    raise BadRequestError("document types and entities are refused")


def _method_info(namespace: str, name: str) -> Any:
    if name == "Fetch":
        return _FETCH
    try:
        return support.GetWsdlMethod(namespace or XML_NAMESPACE, name).info
    except KeyError:
        raise BadRequestError(f"unknown method {name!r} in {namespace!r}", method=name) from None


def parse_call(body: bytes, version: str) -> Call:
    """The call in a SOAP envelope. Raises BadRequestError."""
    if len(body) > MAX_REQUEST_BYTES:
        raise BadRequestError("the request is too large")
    parser = _RequestParser()
    try:
        parser.parser.Parse(body, True)
    except BadRequestError:
        raise
    except Exception as error:  # whatever a malformed document provokes in the deserialiser
        raise BadRequestError(f"malformed request: {error}") from error
    if parser.info is None or not isinstance(parser.values.get("_this"), support.ManagedObject):
        raise BadRequestError("the body names no method or no object")
    return Call(parser.info.wsdlName, parser.info, parser.values["_this"], _arguments(parser), version)


def _arguments(parser: _RequestParser) -> Args:
    values: dict[str, Any] = {}
    for param in parser.info.params:
        value = parser.values.get(param.name)
        if value is None and issubclass(param.type, list):
            value = []
        if value is None and not param.flags & support.F_OPTIONAL:
            raise BadRequestError(f"{parser.info.wsdlName} needs the parameter {param.name!r}")
        values[param.name] = value
    return Args(**values)


class _Serializer(_adapter.SoapSerializer):  # type: ignore[misc]
    """pyVmomi's, writing as servers do: references say ``ManagedObjectReference``, nothing says its version."""

    def __init__(self, writer: StringIO, version: str, namespaces: dict[str, str]) -> None:
        super().__init__(writer, version, namespaces)
        self.outermostAttrs = None

    def _QName(self, typ: Any, default: str) -> tuple[str, str]:  # noqa: N802 - overrides
        attribute, name = super()._QName(typ, default)
        return attribute, name + "Reference" if typ is support.ManagedObject else name


def element(name: str, value: Any, kind: Any, version: str) -> str:
    """``<name>…</name>`` of a value declared as ``kind`` (``object`` makes it say its type)."""
    if value is None:
        return ""
    info = support.Object(name=name, type=kind, version=version, flags=support.F_OPTIONAL)
    writer = StringIO()
    _Serializer(writer, version, NAMESPACES).Serialize(value, info)
    return writer.getvalue()


def render_result(call: Call, value: Any) -> bytes:
    """The envelope of a method's result; ``Raw`` goes in as it is."""
    response = f"{call.method}Response"
    if isinstance(value, Raw):
        inner = "".join(value.parts)
    else:
        kind = object if call.method == "Fetch" and value is not None else call.info.result
        inner = element("returnval", value, kind, call.version)
    return f'{_HEAD}<{response} xmlns="{XML_NAMESPACE}">{inner}</{response}>{_TAIL}'.encode()


def render_fault(fault: Any, message: str, version: str) -> bytes:
    """The envelope of a fault; its HTTP status is 500."""
    name = support.GetWsdlName(type(fault)) + "Fault"
    info = support.Object(name=name, type=object, version=version, flags=0)
    silent = copy.copy(fault)
    silent.msg = None  # it is the fault string
    writer = StringIO()
    _Serializer(writer, version, NAMESPACES).SerializeFaultDetail(silent, info)
    detail = writer.getvalue().replace(f"<{name}", f'<{name} xmlns="{XML_NAMESPACE}"', 1)
    return (
        f"{_HEAD}<soapenv:Fault><faultcode>ServerFaultCode</faultcode>"
        f"<faultstring>{escape(message)}</faultstring><detail>{detail}</detail></soapenv:Fault>{_TAIL}"
    ).encode()


def invalid_request(message: str) -> Any:
    """The fault for what could not be understood."""
    return vmodl.fault.InvalidRequest(msg=message)
