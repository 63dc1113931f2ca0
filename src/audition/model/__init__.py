"""Models outside the box, as those who think and judge with one see them."""

from audition.model.chat import Asked, Chat, ModelAway, ModelError, Reply, ToolCall
from audition.model.folder import LocalModel
from audition.model.inspected import Inspected, Provider
from audition.model.patience import Patience
from audition.model.served import Served, Server

__all__ = [
    "Asked",
    "Chat",
    "Inspected",
    "LocalModel",
    "ModelAway",
    "ModelError",
    "Patience",
    "Provider",
    "Reply",
    "Served",
    "Server",
    "ToolCall",
]
