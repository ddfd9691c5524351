"""What is put around gRPC calls, whatever they ask."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from scaler.latency import Latency

Context = grpc.aio.ServicerContext[Any, Any]


class Timed(grpc.aio.ServerInterceptor):
    """Counts how long the answers to KEDA's and our own calls took; streams stay open and are not counted."""

    def __init__(self, latency: Latency, services: Sequence[str]) -> None:
        self._latency, self._services = latency, services
        self._timed: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Put the watch around a method."""
        name = handler_call_details.method
        if name not in self._timed:
            method = await continuation(handler_call_details)
            service, _, call = name.lstrip("/").partition("/")
            if method is None or method.unary_unary is None or service not in self._services:
                return method
            self._timed[name] = grpc.unary_unary_rpc_method_handler(
                self._watched(call, method.unary_unary), method.request_deserializer, method.response_serializer
            )
        return self._timed[name]

    def _watched(self, call: str, inner: Callable[[Any, Context], Awaitable[Any]]) -> Any:
        async def outer(request: Any, context: Context) -> Any:
            began_s = time.perf_counter()
            try:
                return await inner(request, context)
            finally:
                self._latency.observe(call, time.perf_counter() - began_s)

        return outer
