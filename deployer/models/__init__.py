"""The tables, one aggregate a file. Importing this package makes every table known to ``Base.metadata``."""

from deployer.models.audit import AuditEvent
from deployer.models.base import Base
from deployer.models.channel import Channel
from deployer.models.delivery import Counter, Delivery, DeliveryPayload
from deployer.models.deployment import Command, Deployment, DeploymentEvent, LogChunk
from deployer.models.notification import Notification
from deployer.models.project import Project, Step, Variable
from deployer.models.release import Release
from deployer.models.runner import Runner
from deployer.models.schedule import Schedule
from deployer.models.server import Server
from deployer.models.setting import Setting
from deployer.models.user import Invitation, LoginSession, RecoveryCode, Throttle, User

__all__ = [
    "AuditEvent",
    "Base",
    "Channel",
    "Command",
    "Counter",
    "Delivery",
    "DeliveryPayload",
    "Deployment",
    "DeploymentEvent",
    "Invitation",
    "LogChunk",
    "LoginSession",
    "Notification",
    "Project",
    "RecoveryCode",
    "Release",
    "Runner",
    "Schedule",
    "Server",
    "Setting",
    "Step",
    "Throttle",
    "User",
    "Variable",
]
