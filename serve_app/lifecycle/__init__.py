"""The Coordinator's view of the models: what all replicas tell, who wants what, and what they are told to do."""
