"""Clients of servers that speak the OpenAI chat API; what knowledge and captions ask through."""
