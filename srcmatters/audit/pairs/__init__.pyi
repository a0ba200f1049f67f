from .plan import (
    PairsPlan as PairsPlan,
    PairState as PairState,
    plan_pairs as plan_pairs,
)
from .returned_scores import (
    Returned as Returned,
    read_returned as read_returned,
)
from .stored_depth import (
    as_stored as as_stored,
    stored_bits as stored_bits,
)
from .write_pairs import (
    write_pairs as write_pairs,
)
