"""Several devices: one process each under torch.distributed, one sum of a model-sized vector per synchronisation.

`group` is what joins them, `workers` starts the processes and watches them, `lifeline` is a worker's end of that.
`scaling` says on paper how throughput grows with devices.
"""

from crossbow_lab.devices.names import check_devices, check_one_device, check_spans, find_devices
from crossbow_lab.devices.scaling import DeviceWork, Link, Observation, fit_errors, fit_link, observations

__all__ = [
    "DeviceWork",
    "Link",
    "Observation",
    "check_devices",
    "check_one_device",
    "check_spans",
    "find_devices",
    "fit_errors",
    "fit_link",
    "observations",
]
