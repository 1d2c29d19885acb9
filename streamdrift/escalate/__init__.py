"""From alerts to pages: group, triage, deliver.

``policy``     pure: which incident an alert belongs to, and whether somebody is to be told
``triage``     pure: blast radius and headline of an incident
``ledger``     incidents, outbox and consumed offsets in one SQLite file, moved in one transaction
``worker``     the loop: poll, decide, record, commit, deliver
``receivers``  one file each: PagerDuty, webhook
"""
