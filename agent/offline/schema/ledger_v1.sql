-- ledger.db, version 1: what this till did and must never forget.
-- Precious: synchronous=FULL, one writer (the till's thread), backed up by VACUUM INTO.
-- Points are hundredths; *_s are UTC seconds; blobs named body are canonical bytes
-- (loyalty/ledger.py, loyalty/document.py) and are what hashes are taken of.

-- Who this till is since it was enrolled. One row. Secrets lie beside this file, not in it.
CREATE TABLE identity (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    till            TEXT NOT NULL,
    store           TEXT NOT NULL,
    server_url      TEXT NOT NULL,
    reply_key       BLOB NOT NULL,          -- Ed25519 public key that signs sync replies
    channel_keys    TEXT NOT NULL,          -- JSON {key id: hex of an Ed25519 public key}
    keyset_version  INTEGER NOT NULL
) STRICT;

-- Where this till stands with the centre. One row; none of it may ever go back.
CREATE TABLE uplink (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    epoch           INTEGER NOT NULL,       -- one life of this till's log
    timeline        INTEGER NOT NULL,       -- one life of the centre's database
    session         TEXT NOT NULL,          -- rotates with every sync; a clone is found by it
    acked_seq       INTEGER NOT NULL DEFAULT 0,  -- the centre has committed entries up to here
    durable_seq     INTEGER NOT NULL DEFAULT 0,  -- and these are safe on two disks
    server_ms       INTEGER NOT NULL DEFAULT 0,  -- greatest server time ever heard
    synced_s        INTEGER,                -- this till's clock at the last successful sync
    retry_attempt   INTEGER NOT NULL DEFAULT 0,  -- back-off survives a restart
    kill_seq        INTEGER NOT NULL DEFAULT 0   -- newest kill list ever seen
) STRICT;

-- The log. (epoch, seq) has no gap; h chains each entry to the one before.
CREATE TABLE entry (
    epoch           INTEGER NOT NULL,
    seq             INTEGER NOT NULL CHECK (seq > 0),
    at_s            INTEGER NOT NULL,
    kind            TEXT NOT NULL,
    account         INTEGER,                -- NULL: a sale without a card
    ref             TEXT,                   -- the entry that this one corrects
    body            BLOB NOT NULL,
    h               BLOB NOT NULL,
    PRIMARY KEY (epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_account ON entry (account, epoch, seq) WHERE account IS NOT NULL;
CREATE INDEX entry_ref ON entry (ref) WHERE ref IS NOT NULL;

CREATE TRIGGER entry_is_never_edited BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'the ledger is corrected by adding, never by editing'); END;
-- Pruning (ledger-sync.md §5.7) may drop what is durable elsewhere and written off in pruned.
CREATE TRIGGER entry_is_never_deleted BEFORE DELETE ON entry
WHEN NOT EXISTS (SELECT 1 FROM pruned WHERE pruned.epoch = OLD.epoch AND pruned.to_seq >= OLD.seq)
BEGIN SELECT RAISE(ABORT, 'the ledger is corrected by adding, never by deleting'); END;

-- Heads of stretches that were pruned: the chain can still be checked from there.
CREATE TABLE pruned (
    epoch           INTEGER NOT NULL,
    to_seq          INTEGER NOT NULL,
    h               BLOB NOT NULL,
    PRIMARY KEY (epoch, to_seq)
) STRICT, WITHOUT ROWID;

-- Receipts travel: the document of each SALE and RETURN_GOODS. Its sha256 stands in the entry.
CREATE TABLE document (
    epoch           INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    sale_id         TEXT NOT NULL,          -- the cash program's id of the sale or return
    body            BLOB NOT NULL,
    PRIMARY KEY (epoch, seq),
    FOREIGN KEY (epoch, seq) REFERENCES entry (epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX document_sale ON document (sale_id);

CREATE TRIGGER document_is_never_edited BEFORE UPDATE ON document
BEGIN SELECT RAISE(ABORT, 'a document is what was sold; it is never edited'); END;
CREATE TRIGGER document_is_never_deleted BEFORE DELETE ON document
WHEN NOT EXISTS (SELECT 1 FROM pruned WHERE pruned.epoch = OLD.epoch AND pruned.to_seq >= OLD.seq)
BEGIN SELECT RAISE(ABORT, 'a document is what was sold; it is never deleted'); END;

-- What this till may spend now: its parcels of every lot. A row of 0 points stays as long as a
-- document that could bring the lot back (void, return): it remembers the lot's terms.
CREATE TABLE parcel (
    account         INTEGER NOT NULL,
    lot             TEXT NOT NULL,
    points          INTEGER NOT NULL CHECK (points >= 0),
    active_from     TEXT NOT NULL,          -- shop wall-clock YYYY-MM-DDTHH:MM:SS, half-open
    expires_at      TEXT,
    rule            TEXT NOT NULL,
    PRIMARY KEY (account, lot)
) STRICT, WITHOUT ROWID;

-- Quotes that spend something and are not yet committed or voided.
CREATE TABLE hold (
    sale_id         TEXT PRIMARY KEY,
    quote_id        TEXT NOT NULL,
    body_sha256     BLOB NOT NULL,          -- of the cart as it was asked
    at_s            INTEGER NOT NULL,
    opened_s        INTEGER NOT NULL,       -- when the sale opened; its receipt's `at`
    offer           BLOB NOT NULL           -- version byte + loyalty.sale.Offer
) STRICT, WITHOUT ROWID;

-- The parcels each hold promises. A one-time coupon and a certificate are lots like any other.
CREATE TABLE hold_parcel (
    account         INTEGER NOT NULL,
    lot             TEXT NOT NULL,
    sale_id         TEXT NOT NULL REFERENCES hold (sale_id),
    points          INTEGER NOT NULL CHECK (points > 0),
    PRIMARY KEY (account, lot, sale_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_parcel_sale ON hold_parcel (sale_id);

-- What was answered to a commit, void or print, so that the same question gets the same answer.
CREATE TABLE answer (
    sale_id         TEXT NOT NULL,
    verb            TEXT NOT NULL,
    body_sha256     BLOB NOT NULL,
    at_s            INTEGER NOT NULL,
    body            BLOB NOT NULL,          -- JSON
    PRIMARY KEY (sale_id, verb)
) STRICT, WITHOUT ROWID;

-- How each attempt to print a slip ended. An entry without a 'printed' or 'waived' note is still COMMITTED.
CREATE TABLE print_note (
    n               INTEGER PRIMARY KEY,
    epoch           INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    at_s            INTEGER NOT NULL,
    outcome         TEXT NOT NULL CHECK (outcome IN ('printed', 'waived', 'failed', 'unknown'))
) STRICT;
CREATE INDEX print_note_entry ON print_note (epoch, seq);

-- The downlink: the centre writes it, one strictly ordered stretch a bucket.
CREATE TABLE downlink (
    bucket          INTEGER NOT NULL,
    gseq            INTEGER NOT NULL,
    body            BLOB NOT NULL,
    h               BLOB NOT NULL,
    PRIMARY KEY (bucket, gseq)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER downlink_is_never_edited BEFORE UPDATE ON downlink
BEGIN SELECT RAISE(ABORT, 'what the centre granted is never edited'); END;
CREATE TRIGGER downlink_is_never_deleted BEFORE DELETE ON downlink
BEGIN SELECT RAISE(ABORT, 'what the centre granted is never deleted'); END;

CREATE TABLE down_cursor (
    bucket          INTEGER PRIMARY KEY,
    gseq            INTEGER NOT NULL,
    h               BLOB NOT NULL,
    stopped_by      TEXT                    -- the kind this program does not know: update the agent
) STRICT;

-- The highest version of every channel that was ever in force here.
CREATE TABLE channel (
    channel         TEXT PRIMARY KEY,
    version         INTEGER NOT NULL,
    manifest_sha256 TEXT NOT NULL,
    since_s         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
