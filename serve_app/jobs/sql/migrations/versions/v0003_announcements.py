"""Addresses that hear of models, and deliveries that belong to no job."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("deliveries") as deliveries:  # SQLite cannot alter a column: the table is written anew
        deliveries.alter_column("job_id", existing_type=sa.Text, nullable=True)
        deliveries.add_column(sa.Column("body", sa.Text))
    op.create_table(
        "addresses",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("given_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("owner", "digest"),
    )
    op.create_table(
        "announced",
        sa.Column("model_id", sa.Text, primary_key=True),
        sa.Column("news", sa.Text, nullable=False),
    )
