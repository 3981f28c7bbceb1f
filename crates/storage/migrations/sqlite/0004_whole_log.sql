-- A log that is whole, and rows that can be read.

-- The version of the schema (PRAGMA schema_version) as of which the log tells of everything. Another one than the file's means that
-- somebody has altered the schema, perhaps dropped a trigger and made it again: whoever finds that logs a change of everything.
CREATE TABLE log_schema (
    singleton INTEGER PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    version INTEGER NOT NULL
) STRICT;
