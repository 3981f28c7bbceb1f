-- A log that is whole, and rows that can be read.

-- The version of the schema (PRAGMA schema_version) as of which the log tells of everything. Another one than the file's means that
-- somebody has altered the schema, perhaps dropped a trigger and made it again: whoever finds that logs a change of everything.
CREATE TABLE log_schema (
    singleton INTEGER PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    version INTEGER NOT NULL
) STRICT;

-- Refuse at the door what Larder could not read: text that is not UTF-8, lone surrogates, U+0000, and more text than a product may
-- have. SQLite decodes most invalid bytes as U+FFFD, which by itself is allowed; a cut-off sequence that it decodes as another
-- character gets past these triggers. The log does not depend on them.
CREATE TRIGGER refuse_unreadable_insert AFTER INSERT ON products
BEGIN
    SELECT RAISE(ABORT, 'the text of a product is UTF-8 without U+0000')
    WHERE instr(NEW.name, char(0)) > 0 OR replace(NEW.name, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.description, char(0)) > 0 OR replace(NEW.description, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.image_url, char(0)) > 0 OR replace(NEW.image_url, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.categories, char(0)) > 0 OR replace(NEW.categories, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.tags, char(0)) > 0 OR replace(NEW.tags, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.attributes, char(0)) > 0 OR replace(NEW.attributes, char(65533), '') GLOB '*' || char(65533) || '*'
        OR EXISTS (SELECT 1 FROM (
            SELECT value FROM json_each(NEW.categories) UNION ALL SELECT value FROM json_each(NEW.tags)
            UNION ALL SELECT key FROM json_each(NEW.attributes) UNION ALL SELECT value FROM json_each(NEW.attributes)) held
            WHERE instr(held.value, char(0)) > 0 OR replace(held.value, char(65533), '') GLOB '*' || char(65533) || '*');
    SELECT RAISE(ABORT, 'the text of a product is at most 3 MiB')
    WHERE length(CAST(NEW.name AS BLOB)) + length(CAST(NEW.description AS BLOB)) + length(CAST(NEW.categories AS BLOB))
        + length(CAST(NEW.tags AS BLOB)) + length(CAST(NEW.attributes AS BLOB)) + length(CAST(NEW.image_url AS BLOB)) > 3145728;
END;

CREATE TRIGGER refuse_unreadable_update AFTER UPDATE ON products
WHEN NEW.name IS NOT OLD.name
    OR NEW.description IS NOT OLD.description
    OR NEW.image_url IS NOT OLD.image_url
    OR NEW.categories IS NOT OLD.categories
    OR NEW.tags IS NOT OLD.tags
    OR NEW.attributes IS NOT OLD.attributes
BEGIN
    SELECT RAISE(ABORT, 'the text of a product is UTF-8 without U+0000')
    WHERE instr(NEW.name, char(0)) > 0 OR replace(NEW.name, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.description, char(0)) > 0 OR replace(NEW.description, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.image_url, char(0)) > 0 OR replace(NEW.image_url, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.categories, char(0)) > 0 OR replace(NEW.categories, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.tags, char(0)) > 0 OR replace(NEW.tags, char(65533), '') GLOB '*' || char(65533) || '*'
        OR instr(NEW.attributes, char(0)) > 0 OR replace(NEW.attributes, char(65533), '') GLOB '*' || char(65533) || '*'
        OR EXISTS (SELECT 1 FROM (
            SELECT value FROM json_each(NEW.categories) UNION ALL SELECT value FROM json_each(NEW.tags)
            UNION ALL SELECT key FROM json_each(NEW.attributes) UNION ALL SELECT value FROM json_each(NEW.attributes)) held
            WHERE instr(held.value, char(0)) > 0 OR replace(held.value, char(65533), '') GLOB '*' || char(65533) || '*');
    SELECT RAISE(ABORT, 'the text of a product is at most 3 MiB')
    WHERE length(CAST(NEW.name AS BLOB)) + length(CAST(NEW.description AS BLOB)) + length(CAST(NEW.categories AS BLOB))
        + length(CAST(NEW.tags AS BLOB)) + length(CAST(NEW.attributes AS BLOB)) + length(CAST(NEW.image_url AS BLOB)) > 3145728;
END;

CREATE TRIGGER refuse_unreadable_invalidation BEFORE INSERT ON changes
WHEN NEW.kind IN ('key', 'category', 'tag', 'pattern')
    AND (length(CAST(NEW.key AS BLOB)) > 524288 OR instr(NEW.key, char(0)) > 0 OR replace(NEW.key, char(65533), '') GLOB '*' || char(65533) || '*')
BEGIN
    SELECT RAISE(ABORT, 'the key of a change is UTF-8 without U+0000, and at most 512 KiB');
END;
