"""`embedpipe plan`: what a workload needs on AWS, what that costs, and what would be cheaper."""
