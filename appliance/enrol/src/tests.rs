//! Transcripts of the core: which stage follows which event.
