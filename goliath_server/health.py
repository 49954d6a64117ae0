"""The standard services beside ours: health and reflection."""

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

SERVICE = "goliath.v1.CollaborationService"


class Health:
    """The health service: NOT_SERVING until it is set."""

    def __init__(self, server: grpc.aio.Server) -> None:
        """Add it, and reflection, to a server that is not started yet."""
        self._servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)

    async def set(self, *, serving: bool) -> None:
        """Say whether sessions can begin."""
        status = health_pb2.HealthCheckResponse
        for name in ("", SERVICE):
            await self._servicer.set(name, status.SERVING if serving else status.NOT_SERVING)
