"""Which of several Coordinators leads, and who waits for the lead."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dispatch", sa.Column("cluster", sa.Text))
    op.add_column("dispatch", sa.Column("former", sa.Text, nullable=False, server_default="[]"))
    op.add_column("dispatch", sa.Column("asked", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("dispatch", sa.Column("answers", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("dispatch", sa.Column("wanted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("dispatch", sa.Column("vacant", sa.Boolean, nullable=False, server_default=sa.false()))
