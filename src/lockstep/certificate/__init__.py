"""Stage 4. In: an ``Audit``. Out: its claim as JSON; of a claim, accepted or every reason against it."""
