"""A server: another host where projects run, reached over SSH with a key of its own and a pinned host key.

The local host is no row: a project without a server runs on it.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from deployer.models.base import Base


class Server(Base):
    __tablename__ = "servers"

    id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64), unique=True)
    host: Mapped[str] = mapped_column(sa.String(255))
    port: Mapped[int]
    username: Mapped[str] = mapped_column(sa.String(64))
    # Sealed by security.vault, bound to this server.
    private_key: Mapped[bytes]
    public_key: Mapped[str] = mapped_column(sa.String(512))
    # Host keys as "type base64" (OpenSSH's public key format without a comment): the one that a person confirmed,
    # and the one that was seen last and still waits for that.
    host_key: Mapped[str | None] = mapped_column(sa.Text)
    offered_host_key: Mapped[str | None] = mapped_column(sa.Text)
    # Folders that come before the system's in the PATH of this server's commands, one a line.
    extra_path: Mapped[str | None] = mapped_column(sa.Text)
    # The last test of the connection: when, and what it found, as JSON.
    tested_at: Mapped[datetime | None]
    test_report: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
