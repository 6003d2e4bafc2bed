"""Several devices: one process each under torch.distributed, one sum of a model-sized vector per synchronisation.

`group` is what joins them, `workers` starts the processes and watches them, `lifeline` is a worker's end of that.
"""

from crossbow_lab.devices.names import check_devices, check_one_device, check_spans, find_devices

__all__ = ["check_devices", "check_one_device", "check_spans", "find_devices"]
