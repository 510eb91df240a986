"""From a table of results to what can be claimed: statistics, comparisons, words."""
