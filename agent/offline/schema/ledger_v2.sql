-- ledger.db, version 2: lives. A till's log has lives (epochs), the centre's database has lives
-- (timelines), and an account may go on as another.

-- A restore from a backup that the centre has not heard of yet: until then nothing is written.
ALTER TABLE uplink ADD COLUMN restore_id TEXT;

-- What the centre said last: entries of ours that wait for a person's decision; and whether it has
-- ended this life of the till.
ALTER TABLE uplink ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0;
ALTER TABLE uplink ADD COLUMN ended INTEGER NOT NULL DEFAULT 0;

-- When this life of the till began, by the centre's clock: what it said of members before that counts
-- entries of another life.
ALTER TABLE uplink ADD COLUMN began_ms INTEGER NOT NULL DEFAULT 0;

-- How far the centre has this till's lives that have ended. What is missing there is still sent.
CREATE TABLE past_epoch (
    epoch           INTEGER PRIMARY KEY,
    acked_seq       INTEGER NOT NULL,
    log_to          INTEGER NOT NULL,       -- the centre had entries up to here when the life ended
    durable_after   INTEGER NOT NULL        -- once this entry of the present life is durable, these are; 0 = are
) STRICT;

-- Sales that were pruned, for a year: a void that comes as late is refused in words.
CREATE TABLE pruned_sale (
    sale_id         TEXT PRIMARY KEY,
    at_s            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pruned_sale_at ON pruned_sale (at_s);

-- What the centre told us, by its life: each begins its downlinks anew.
ALTER TABLE downlink RENAME TO downlink_v1;
DROP TRIGGER downlink_is_never_edited;
DROP TRIGGER downlink_is_never_deleted;
CREATE TABLE downlink (
    timeline        INTEGER NOT NULL,
    bucket          INTEGER NOT NULL,
    gseq            INTEGER NOT NULL,
    body            BLOB NOT NULL,
    h               BLOB NOT NULL,
    reply           INTEGER,                -- in which signed reply it came (down_reply)
    PRIMARY KEY (timeline, bucket, gseq)
) STRICT, WITHOUT ROWID;
INSERT INTO downlink SELECT uplink.timeline, bucket, gseq, body, h, NULL FROM downlink_v1, uplink;
DROP TABLE downlink_v1;
CREATE TRIGGER downlink_is_never_edited BEFORE UPDATE ON downlink
BEGIN SELECT RAISE(ABORT, 'what the centre granted is never edited'); END;

ALTER TABLE down_cursor RENAME TO down_cursor_v1;
CREATE TABLE down_cursor (
    timeline        INTEGER NOT NULL,
    bucket          INTEGER NOT NULL,
    gseq            INTEGER NOT NULL,
    h               BLOB NOT NULL,
    stopped_by      TEXT,                   -- the kind this program does not know: update the agent
    PRIMARY KEY (timeline, bucket)
) STRICT, WITHOUT ROWID;
INSERT INTO down_cursor SELECT uplink.timeline, bucket, gseq, h, stopped_by FROM down_cursor_v1, uplink;
DROP TABLE down_cursor_v1;

-- The centre's signature under the messages of one reply: shown to a centre that has forgotten them.
CREATE TABLE down_reply (
    id              INTEGER PRIMARY KEY,
    statement       BLOB NOT NULL,          -- loyalty.wire.down_signing_bytes
    signature       BLOB NOT NULL,
    at_s            INTEGER NOT NULL,       -- when it was applied, and behind which entry of ours
    epoch           INTEGER NOT NULL,
    seq             INTEGER NOT NULL
) STRICT;
CREATE INDEX downlink_reply ON downlink (reply);
-- Pruning writes off the signature first: without it a message is no use to a centre that has forgotten it.
CREATE TRIGGER downlink_is_never_deleted BEFORE DELETE ON downlink
WHEN EXISTS (SELECT 1 FROM down_reply WHERE id = OLD.reply)
BEGIN SELECT RAISE(ABORT, 'what the centre granted is never deleted'); END;

-- Accounts that go on as another (LINK, MERGE).
CREATE TABLE alias (
    account         INTEGER PRIMARY KEY,
    owner           INTEGER NOT NULL
) STRICT;
CREATE INDEX alias_owner ON alias (owner);

-- Which rules and goods the receipts here were priced by, and the newest receipt that was: what snapshot.db
-- keeps for goods that come back. A row whose receipt was pruned names nothing any more.
CREATE TABLE priced_by (
    rulebook_seq    INTEGER NOT NULL,
    catalog_version INTEGER NOT NULL,
    epoch           INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    PRIMARY KEY (rulebook_seq, catalog_version)
) STRICT, WITHOUT ROWID;

-- When an account was last served here, and whether this till is where its points are kept.
CREATE TABLE standing (
    account         INTEGER PRIMARY KEY,
    touched_s       INTEGER NOT NULL,
    home            INTEGER                 -- NULL: never heard
) STRICT;
CREATE INDEX standing_touched ON standing (touched_s);
CREATE INDEX standing_elsewhere ON standing (home) WHERE home = 0;
CREATE INDEX parcel_expires ON parcel (expires_at) WHERE points > 0;

-- In which of an account's sales a rule with a counter of its own did something (loyalty/once.py), so
-- that "once a day" holds at a till that is cut off. Old rows go once the centre has their entries.
CREATE TABLE worked (
    account         INTEGER NOT NULL,
    rule            TEXT NOT NULL,
    day             TEXT NOT NULL,          -- local date of the sale, YYYY-MM-DD
    epoch           INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    lasting         INTEGER NOT NULL,       -- 1: its once-key is used up, even if the sale is voided
    PRIMARY KEY (account, rule, epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX worked_day ON worked (day);
