"""Why a run fails: the classification of errors, and the analysis of an attempt that failed."""
