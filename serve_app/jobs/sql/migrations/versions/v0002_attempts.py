"""How often a job was tried in vain, kept beside it, and whether its words are shown."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("waits", sa.Integer, nullable=False, server_default="0"),
        # What runs now was counted when it was claimed, and is not to be uncounted by the start that migrates.
        sa.Column("begun", sa.Boolean, nullable=False, server_default=sa.true()),
        # Jobs from before showed them unasked, and go on doing so.
        sa.Column("shows_words", sa.Boolean, nullable=False, server_default=sa.true()),
    ):
        op.add_column("jobs", column)
