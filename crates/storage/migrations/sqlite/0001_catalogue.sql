-- Products, their change log, and what the change log needs. Everything here also holds for a plain sqlite3 shell
-- (3.37 or later, with FTS5) that sets no pragma.

CREATE TABLE products (
    -- A name for the rowid: VACUUM may renumber rowids that have none, and the full text is kept by them.
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE
        CHECK (length(id) BETWEEN 1 AND 64 AND length(CAST(id AS BLOB)) = length(id)
               AND id NOT GLOB '*[^A-Za-z0-9._~-]*'),
    name TEXT NOT NULL CHECK (length(CAST(name AS BLOB)) <= 2048),
    description TEXT NOT NULL DEFAULT '',
    -- '' means that there is no price.
    price_currency TEXT NOT NULL DEFAULT '',
    price_units INTEGER NOT NULL DEFAULT 0,
    price_nanos INTEGER NOT NULL DEFAULT 0,
    -- JSON arrays of strings and a JSON object of strings; a trigger looks into them.
    categories TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(categories) AND json_type(categories) = 'array'),
    tags TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tags) AND json_type(tags) = 'array'),
    attributes TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(attributes) AND json_type(attributes) = 'object'),
    image_url TEXT NOT NULL DEFAULT '',
    in_stock INTEGER NOT NULL DEFAULT 0 CHECK (in_stock IN (0, 1)),
    -- Microseconds since 1970, to the millisecond that SQLite's clock knows; from the year 1 to the year 9999.
    create_time INTEGER NOT NULL
        DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)
        CHECK (create_time BETWEEN -62135596800000000 AND 253402300799999999),
    update_time INTEGER NOT NULL
        DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)
        CHECK (update_time BETWEEN -62135596800000000 AND 253402300799999999),
    -- Of the change that made the row what it is: its number, and 24 bits of its salt below. Numbers are used again after the
    -- file is put back from a copy; a precondition that names a version of the lost life must not hold for other content.
    version INTEGER NOT NULL DEFAULT 0,
    CHECK (
        (price_currency = '' AND price_units = 0 AND price_nanos = 0)
        OR (length(price_currency) = 3 AND price_currency GLOB '[A-Z][A-Z][A-Z]'
            AND price_units >= 0 AND price_nanos BETWEEN 0 AND 999999999)
    )
) STRICT;

CREATE INDEX products_by_create_time ON products (create_time, id);
CREATE INDEX products_by_update_time ON products (update_time, id);
CREATE INDEX products_by_name ON products (name, id);
CREATE INDEX products_by_price ON products (price_currency, price_units, price_nanos, id);

-- Which product has which category or tag; the triggers keep it.
CREATE TABLE product_terms (
    id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('category', 'tag')),
    term TEXT NOT NULL,
    PRIMARY KEY (id, kind, term)
) STRICT, WITHOUT ROWID;
CREATE INDEX product_terms_by_term ON product_terms (kind, term, id);

-- The words of each product, by its number; the triggers keep it. It holds the text a second time: a copy that can be
-- deleted by number alone stays right even when INSERT OR REPLACE removes a row without a trace of its old text.
CREATE VIRTUAL TABLE product_words USING fts5(
    name, terms, description,
    tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3 4'
);

-- The change log. Anybody may ask for an invalidation: INSERT INTO changes (kind, key) VALUES ('tag', 'summer');
-- A bulk statement is logged row by row: SQLite has no counter that is local to a transaction and shared with a shell. A follower
-- that finds more than it wants to read takes it for a change of anything, which comes to the same.
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Tells this row from one of the same number in a copy of the file that went its own way.
    salt INTEGER NOT NULL DEFAULT (random()),
    kind TEXT NOT NULL CHECK (kind IN ('put', 'delete', 'key', 'category', 'tag', 'pattern', 'all')),
    -- The product's id; for a category, a tag or a pattern, that.
    key TEXT NOT NULL DEFAULT '',
    -- Categories and tags of the old and the new row.
    categories TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(categories) AND json_type(categories) = 'array'),
    tags TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tags) AND json_type(tags) = 'array'),
    CHECK ((kind = 'all') = (key = ''))
) STRICT;
-- There is always a last row for a follower to recognise.
INSERT INTO changes (kind) VALUES ('all');

-- Every change below this number may be gone.
CREATE TABLE changes_pruned (
    singleton INTEGER PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    below INTEGER NOT NULL
) STRICT;
INSERT INTO changes_pruned (below) VALUES (0);

CREATE TABLE incarnation (
    singleton INTEGER PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    id TEXT NOT NULL DEFAULT (hex(randomblob(16)))
) STRICT;
INSERT INTO incarnation DEFAULT VALUES;

-- Request ids and what their first calls returned; times are in seconds since 1970.
CREATE TABLE requests (
    id TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    reply TEXT NOT NULL,
    -- When the newest call of this id was signed, where calls are signed.
    signed INTEGER,
    create_time INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_time ON requests (create_time);

-- Rows that the insert under way may be about to replace: INSERT OR REPLACE fires no delete trigger. Whether they really went
-- is seen after the insert; INSERT OR IGNORE and ON CONFLICT DO UPDATE leave theirs behind, to be dropped by the next.
CREATE TABLE products_maybe_replaced (
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    categories TEXT NOT NULL,
    tags TEXT NOT NULL
) STRICT;

CREATE TRIGGER change_number AFTER INSERT ON changes
WHEN NEW.id <> (SELECT max(id) FROM changes)
BEGIN
    SELECT RAISE(ABORT, 'the number of a change cannot be chosen');
END;

-- No statement in a trigger relies on a conflict clause of its own: that of the statement outside overrides it.

CREATE TRIGGER product_before_insert BEFORE INSERT ON products
WHEN EXISTS (SELECT 1 FROM products WHERE id = NEW.id)
    OR EXISTS (SELECT 1 FROM products WHERE number = NEW.number)
BEGIN
    INSERT INTO products_maybe_replaced (number, id, categories, tags)
    SELECT number, id, categories, tags FROM products WHERE id = NEW.id
    UNION
    SELECT number, id, categories, tags FROM products WHERE number = NEW.number;
END;

CREATE TRIGGER product_after_insert AFTER INSERT ON products
BEGIN
    SELECT RAISE(ABORT, 'categories, tags and attributes hold text only')
    WHERE EXISTS (SELECT 1 FROM json_each(NEW.categories) WHERE type <> 'text')
        OR EXISTS (SELECT 1 FROM json_each(NEW.tags) WHERE type <> 'text')
        OR EXISTS (SELECT 1 FROM json_each(NEW.attributes) WHERE type <> 'text');

    -- What is really gone: whatever had this row's number or id, and whatever is not there.
    DELETE FROM products_maybe_replaced
    WHERE number <> NEW.number AND id <> NEW.id
        AND EXISTS (SELECT 1 FROM products p
                    WHERE p.number = products_maybe_replaced.number AND p.id = products_maybe_replaced.id);
    INSERT INTO changes (kind, key, categories, tags)
    SELECT 'delete', id, categories, tags FROM products_maybe_replaced WHERE id <> NEW.id;
    DELETE FROM product_words WHERE rowid IN (SELECT number FROM products_maybe_replaced);
    DELETE FROM product_terms WHERE id IN (SELECT id FROM products_maybe_replaced);

    INSERT INTO changes (kind, key, categories, tags)
    VALUES (
        'put', NEW.id,
        CASE WHEN EXISTS (SELECT 1 FROM products_maybe_replaced WHERE id = NEW.id) THEN (
            SELECT json_group_array(value) FROM (
                SELECT value FROM json_each(NEW.categories)
                UNION SELECT j.value FROM products_maybe_replaced r, json_each(r.categories) j WHERE r.id = NEW.id
            )) ELSE NEW.categories END,
        CASE WHEN EXISTS (SELECT 1 FROM products_maybe_replaced WHERE id = NEW.id) THEN (
            SELECT json_group_array(value) FROM (
                SELECT value FROM json_each(NEW.tags)
                UNION SELECT j.value FROM products_maybe_replaced r, json_each(r.tags) j WHERE r.id = NEW.id
            )) ELSE NEW.tags END
    );
    UPDATE products
    SET version = (SELECT id << 24 | (salt & 16777215) FROM changes ORDER BY id DESC LIMIT 1)
    WHERE number = NEW.number;
    DELETE FROM products_maybe_replaced;

    INSERT INTO product_words (rowid, name, terms, description)
    VALUES (
        NEW.number, NEW.name,
        (SELECT coalesce(group_concat(value, ' '), '') FROM (
            SELECT value FROM json_each(NEW.categories) UNION ALL SELECT value FROM json_each(NEW.tags))),
        NEW.description
    );
    INSERT INTO product_terms (id, kind, term)
    SELECT NEW.id, 'category', value FROM json_each(NEW.categories)
    UNION SELECT NEW.id, 'tag', value FROM json_each(NEW.tags);
END;

CREATE TRIGGER product_before_update BEFORE UPDATE ON products
WHEN NEW.id IS NOT OLD.id OR NEW.number IS NOT OLD.number
BEGIN
    SELECT RAISE(ABORT, 'the id of a product cannot be changed');
END;

-- Any column counts. The statement that gives the row its version is the one update that this one does not see.
CREATE TRIGGER product_after_update AFTER UPDATE ON products
WHEN NEW.version IS OLD.version
BEGIN
    SELECT RAISE(ABORT, 'categories, tags and attributes hold text only')
    WHERE EXISTS (SELECT 1 FROM json_each(NEW.categories) WHERE type <> 'text')
        OR EXISTS (SELECT 1 FROM json_each(NEW.tags) WHERE type <> 'text')
        OR EXISTS (SELECT 1 FROM json_each(NEW.attributes) WHERE type <> 'text');

    INSERT INTO changes (kind, key, categories, tags)
    VALUES (
        'put', NEW.id,
        CASE WHEN NEW.categories IS OLD.categories THEN NEW.categories ELSE (
            SELECT json_group_array(value) FROM (
                SELECT value FROM json_each(NEW.categories) UNION SELECT value FROM json_each(OLD.categories)
            )) END,
        CASE WHEN NEW.tags IS OLD.tags THEN NEW.tags ELSE (
            SELECT json_group_array(value) FROM (
                SELECT value FROM json_each(NEW.tags) UNION SELECT value FROM json_each(OLD.tags)
            )) END
    );
    UPDATE products
    SET version = (SELECT id << 24 | (salt & 16777215) FROM changes ORDER BY id DESC LIMIT 1),
        update_time = max(OLD.update_time, CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)
    WHERE number = NEW.number;
    DELETE FROM products_maybe_replaced;
END;

-- The version may only become that of the newest change, when that is a put of this very product.
CREATE TRIGGER product_version AFTER UPDATE ON products
WHEN NEW.version IS NOT OLD.version
    AND NOT EXISTS (SELECT 1 FROM changes
                    WHERE id = (SELECT max(id) FROM changes) AND kind = 'put' AND key = NEW.id
                        AND NEW.version = (id << 24 | (salt & 16777215)))
BEGIN
    SELECT RAISE(ABORT, 'the version of a product cannot be chosen');
END;

CREATE TRIGGER product_words_update AFTER UPDATE ON products
WHEN NEW.name IS NOT OLD.name OR NEW.description IS NOT OLD.description
    OR NEW.categories IS NOT OLD.categories OR NEW.tags IS NOT OLD.tags
BEGIN
    UPDATE product_words
    SET name = NEW.name,
        terms = (SELECT coalesce(group_concat(value, ' '), '') FROM (
            SELECT value FROM json_each(NEW.categories) UNION ALL SELECT value FROM json_each(NEW.tags))),
        description = NEW.description
    WHERE rowid = NEW.number;
END;

CREATE TRIGGER product_terms_update AFTER UPDATE ON products
WHEN NEW.categories IS NOT OLD.categories OR NEW.tags IS NOT OLD.tags
BEGIN
    DELETE FROM product_terms WHERE id = NEW.id;
    INSERT INTO product_terms (id, kind, term)
    SELECT NEW.id, 'category', value FROM json_each(NEW.categories)
    UNION SELECT NEW.id, 'tag', value FROM json_each(NEW.tags);
END;

CREATE TRIGGER product_after_delete AFTER DELETE ON products
BEGIN
    INSERT INTO changes (kind, key, categories, tags) VALUES ('delete', OLD.id, OLD.categories, OLD.tags);
    DELETE FROM product_words WHERE rowid = OLD.number;
    DELETE FROM product_terms WHERE id = OLD.id;
    DELETE FROM products_maybe_replaced WHERE number = OLD.number;
END;
