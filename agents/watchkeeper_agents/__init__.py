"""The crew: planner, remediation and scheduler agents. They think and propose; they hold nothing that acts."""
