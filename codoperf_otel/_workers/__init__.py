"""What hands work to threads and tasks, replaced so that it belongs to the operation and agent there."""
