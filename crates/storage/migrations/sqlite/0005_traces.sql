-- Who made a change, and when. Rows that are there have neither.

-- The W3C traceparent of the write. Larder sets it for the rows of traced calls, before they are committed.
ALTER TABLE changes ADD COLUMN traceparent TEXT;

-- When the change was logged, shortly before its commit, in microseconds since 1970. A column that is added cannot have a default that
-- is computed.
ALTER TABLE changes ADD COLUMN logged_at INTEGER;
CREATE TRIGGER change_logged_at AFTER INSERT ON changes
WHEN NEW.logged_at IS NULL
BEGIN
    UPDATE changes SET logged_at = CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) * 1000 WHERE id = NEW.id;
END;
