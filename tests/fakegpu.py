"""A simulated GPU that computes on the CPU and raises CUDA's errors about devices.

It is an error to mix its tensors with the CPU's in one operator, or to convert them to NumPy. Autocast casts the same
operators as on CUDA. `LIIF_TEST_DEVICE=fakegpu` runs the tests on it. Kernels, rounding, streams and memory are not
simulated.
"""
from __future__ import annotations

from typing import Any

import torch
from basicsr.models.base_model import BaseModel
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "fakegpu"
REFUSAL = "can't convert fakegpu:0 device type tensor to numpy. Use Tensor.cpu() to copy it to host memory first."
# Operators that accept a mix of CPU and GPU tensors on CUDA, too.
MIXED = {"copy_", "_to_copy", "_copy_from", "index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index",
         "set_data"}  # fmt: skip
# Operators that CUDA's autocast runs in its low precision, in float32, or in the widest precision of their inputs.
LOW = "conv1d conv2d conv3d conv_transpose2d.input matmul linear addmm mm bmm baddbmm addmv mv einsum addbmm prelu"
FULL = "layer_norm group_norm norm.Scalar l1_loss mse_loss smooth_l1_loss exp log pow.Tensor_Scalar softplus erfinv"
FULL += " binary_cross_entropy_with_logits acos asin cosh tan rsqrt reciprocal cosine_similarity"
WIDEST = "addcmul addcdiv grid_sampler index_put scatter_add atan2 cross bilinear tensordot dot"
# Operators without a kernel.
FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "lift_fresh", "set_data",
        "_local_scalar_dense", "alias", "is_same_size", "view", "_unsafe_view", "_reshape_alias"}  # fmt: skip


class Backend:
    """The module `torch.fakegpu`, with the functions that torch calls."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        pass

    def device_count(self) -> int:
        return 1

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)

    def default_generators(self) -> tuple[()]:
        return ()


_setup_privateuseone_for_python_backend(NAME, Backend())
DEVICE = torch.device(NAME, 0)


class DeviceTensor(torch.Tensor):
    """A tensor of the device; `_inner` holds its values on the CPU."""

    _inner: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> DeviceTensor:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=DEVICE, requires_grad=False,
        )  # fmt: skip
        tensor._inner = inner
        return tensor

    def __repr__(self) -> str:
        return f"DeviceTensor({self._inner})"

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(REFUSAL)
        return self.detach().cpu().numpy(force=True)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(REFUSAL)

    def tolist(self) -> list[Any]:
        return self.detach().cpu().tolist()

    def __reduce_ex__(self, protocol: int) -> Any:
        return self.detach().cpu().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> DeviceTensor:
        if id(self) not in memo:
            copy = DeviceTensor(self._inner.detach().clone()).requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                copy._is_param = True
            memo[id(self)] = copy
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator on the CPU; its result is on the device if its arguments are."""
    name = function._schema.name.split("::")[1]
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    device = kwargs.get("device")
    on_device = any(isinstance(leaf, DeviceTensor) for leaf in leaves)
    on_cpu = any(leaf.dim() > 0 and leaf.device.type == "cpu" for leaf in leaves if not isinstance(leaf, DeviceTensor))
    if on_device and on_cpu and name not in MIXED and not name.startswith("_foreach"):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found fakegpu:0 and cpu! ({function})")
    wanted = torch.device(device).type == NAME if device is not None else on_device
    generator = kwargs.get("generator")
    if wanted and generator is not None and generator.device.type == "cpu":
        raise RuntimeError(f"Expected a '{NAME}' device type for generator but found 'cpu'")
    own_args, own_kwargs = tree_map(_unwrap, (args, kwargs))
    if device is not None and wanted:
        own_kwargs["device"] = torch.device("cpu")
    if "pin_memory" in own_kwargs:
        own_kwargs["pin_memory"] = False
    try:
        out = function(*own_args, **own_kwargs)
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):
            raise torch.cuda.OutOfMemoryError(f"CUDA out of memory. {error}") from None
        raise
    if not wanted or name in ("_local_scalar_dense", "equal", "is_same_size"):
        return out
    out = tree_map(_wrap, out)
    if name == "_to_copy" and device is not None:
        return out
    try:
        return return_and_correct_aliasing(function, args, kwargs, out)
    except (AssertionError, RuntimeError):  # operators without aliasing in their schema
        return out


def _unwrap(leaf: Any) -> Any:
    return leaf._inner if isinstance(leaf, DeviceTensor) else leaf


def _wrap(leaf: Any) -> Any:
    return DeviceTensor(leaf) if isinstance(leaf, torch.Tensor) and not isinstance(leaf, DeviceTensor) else leaf


class Mode(TorchDispatchMode):
    """Within it, factory functions create tensors on the device."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


def install() -> None:
    """Prepare torch and BasicSR for the device; call once per process."""
    torch._C._set_only_lift_cpu_tensors(True)
    torch.inference_mode = torch.no_grad  # torch cannot view a wrapper in inference mode
    # Assigning `param.data`, which modules do by default, would keep `_inner`.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    init = BaseModel.__init__

    def on_default_device(model: BaseModel, opt: dict[str, Any]) -> None:
        init(model, opt)  # BasicSR's models choose between the CPU and cuda
        if torch.get_default_device().type == NAME:
            model.device = DEVICE

    BaseModel.__init__ = on_default_device


def _autocast() -> tuple[torch.library.Library, ...]:
    """Register autocast for the device, with CUDA's lists of operators."""
    through = torch.library.Library("_", "IMPL")
    through.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    library = torch.library.Library("aten", "IMPL")
    for names, rule in ((LOW, _lowest), (FULL, lambda leaves: torch.float32), (WIDEST, _widest)):
        for name in names.split():
            base, _, overload = name.partition(".")
            operator = getattr(getattr(torch.ops.aten, base), overload or "default")
            library.impl(name, _cast_first(operator, rule), "AutocastPrivateUse1")
    return through, library


def _lowest(leaves: list[torch.Tensor]) -> torch.dtype:
    return torch.get_autocast_dtype(NAME)


def _widest(leaves: list[torch.Tensor]) -> torch.dtype:
    return torch.float32 if any(leaf.dtype == torch.float32 for leaf in leaves) else leaves[0].dtype


def _cast_first(operator: Any, rule: Any) -> Any:
    """Return the operator with its floating-point tensors cast to the dtype that `rule` chooses."""
    def eligible(leaf: Any) -> bool:
        return (isinstance(leaf, torch.Tensor) and leaf.device.type == NAME and leaf.is_floating_point()
                and leaf.dtype != torch.float64)  # fmt: skip

    def call(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
            leaves = [leaf for leaf in tree_leaves((args, kwargs)) if eligible(leaf)]
            dtype = rule(leaves) if leaves else None
            args, kwargs = tree_map(lambda leaf: leaf.to(dtype) if eligible(leaf) else leaf, (args, kwargs))
            return operator(*args, **kwargs)

    return call


_LIBRARIES = _autocast()  # unregistered when they are freed


class Launches(TorchDispatchMode):
    """Count the kernels that operators on the device would launch, and list the operators that wait for the device.

    Views, allocations and copies of single values are not counted. A bias and each of a convolution's gradients count
    as kernels of their own, as in cuDNN.

    Attributes:
        count: number of kernels.
        waits: names of the operators that wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name.split("::")[1]
        leaves = tree_leaves((args, kwargs))
        if any(isinstance(leaf, DeviceTensor) for leaf in leaves) or NAME in str((kwargs or {}).get("device")):
            if name == "convolution":
                self.count += 1 + (args[2] is not None)
            elif name == "convolution_backward":
                self.count += sum(args[-1])
            elif not function.is_view and name not in FREE:
                self.count += 1
            if _waits(name, args, kwargs or {}):
                self.waits.append(name)
        return function(*args, **(kwargs or {}))


def _waits(name: str, args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether an operator reads values of the device, or is a blocking copy between it and the CPU."""
    if name in ("_local_scalar_dense", "nonzero", "equal"):
        return True
    if name == "copy_":
        return args[0].device.type != args[1].device.type and not (len(args) > 2 and args[2])
    to = kwargs.get("device") if name == "_to_copy" else None
    return to is not None and torch.device(to).type != args[0].device.type and not kwargs.get("non_blocking")
