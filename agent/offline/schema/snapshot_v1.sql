-- snapshot.db, version 1: what the centre told us. Disposable: all of it can be fetched again.
-- One writer (the sync thread); the till reads it through a query_only connection.

-- Signed manifests, as bytes; the files they name lie in `file`.
CREATE TABLE manifest (
    channel         TEXT NOT NULL,
    version         INTEGER NOT NULL,
    body            BLOB NOT NULL,
    PRIMARY KEY (channel, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE file (
    sha256          TEXT PRIMARY KEY,
    body            BLOB NOT NULL
) STRICT;

-- Which version is in force. It moves only after ledger.db has noted the version.
CREATE TABLE pointer (
    channel         TEXT PRIMARY KEY,
    version         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Members. No name, no number, no phone: only what pricing needs (ledger-sync.md §2).
CREATE TABLE member (
    account         INTEGER PRIMARY KEY,
    body            BLOB NOT NULL,          -- MessagePack of loyalty.wire.Member
    heard_s         INTEGER NOT NULL
) STRICT;

-- Keyed hash of a card number -> account.
CREATE TABLE card (
    card_key        INTEGER PRIMARY KEY,
    account         INTEGER NOT NULL
) STRICT;
