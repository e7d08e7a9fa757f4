//! SQLite: hosts, journal, outbox, in one transaction.
