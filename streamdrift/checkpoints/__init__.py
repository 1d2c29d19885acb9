"""When a stage's state is put away, and what is done to take it up again; what it is made of is said in ``state`` and ``detect.specs``."""

from __future__ import annotations

from streamdrift.checkpoints.groups import GroupCheckpoints as GroupCheckpoints
from streamdrift.checkpoints.rows import RowCheckpoints as RowCheckpoints
from streamdrift.checkpoints.stage import Checkpointed as Checkpointed
