"""The tables, one aggregate a file. Importing this package makes every table known to ``Base.metadata``."""

from deployer.models.base import Base
from deployer.models.delivery import Counter, Delivery
from deployer.models.deployment import Command, Deployment, DeploymentEvent, LogChunk
from deployer.models.project import Project, Step, Variable
from deployer.models.setting import Setting
from deployer.models.user import LoginSession, Throttle, User

__all__ = [
    "Base",
    "Command",
    "Counter",
    "Delivery",
    "Deployment",
    "DeploymentEvent",
    "LogChunk",
    "LoginSession",
    "Project",
    "Setting",
    "Step",
    "Throttle",
    "User",
    "Variable",
]
