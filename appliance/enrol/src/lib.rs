//! What happens to a host, from first packet to retirement: stages, events, effects.
