"""The tables before they had a revision."""

from alembic import op

from audition.ledger.database import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    schema(revision).create_all(op.get_bind())
