"""How a delivery fails."""

from __future__ import annotations

from vbm.errors import TransientError, VbmError


class DeliveryFailedError(TransientError):
    """The receiver could not be reached or is busy: try again later."""

    code = "delivery-failed"


class DeliveryRefusedError(VbmError):
    """The receiver will never take it: a wrong address, a wrong key."""

    code = "delivery-refused"
    permanent = True
