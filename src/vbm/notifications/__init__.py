"""Telling people: what happened, to what, what to do; by mail, chat or webhook."""
