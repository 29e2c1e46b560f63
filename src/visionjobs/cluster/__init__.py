"""Clusters, from a job to its end.

What is sent: submission.py (all that manifests say), sizes.py, render.py with pods.py and overlay.py, code.py.
Before: validate.py with operator_rules.py, pod_rules.py, pod_security.py; preflight.py with checks_*.py and demand.py.
The API: client.py, apply.py. After: state.py with phases.py, job_reasons.py, pod_reasons.py and kueue.py;
run_status.py, follow.py with logs.py, stored_logs.py, outcome.py, cancel.py, dashboard.py with port_forward.py.
Ray: local.py with local_state.py and processes.py (this machine), inside.py (a pod's), ray_jobs.py (one that is there).
"""
