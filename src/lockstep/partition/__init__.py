"""Stage 3. In: a trace. Out: classes of units, locked modules, frozen entries, reasons."""
