"""The crew: planner, remediation and scheduler agents. They think and propose.

They hold nothing that acts.
"""
