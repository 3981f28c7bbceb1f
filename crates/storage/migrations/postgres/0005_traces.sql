-- Who made a change, and when. Rows that are there, and rows of the previous release's schema, have neither.

-- The W3C traceparent of the write: Larder sets `larder.traceparent` in the transactions of traced calls.
ALTER TABLE public.changes ADD COLUMN traceparent text;
ALTER TABLE public.changes ALTER COLUMN traceparent
    SET DEFAULT nullif(pg_catalog.current_setting('larder.traceparent', true), '');

-- When the change was logged, shortly before its commit. The default comes after the column, so that no row is written anew.
ALTER TABLE public.changes ADD COLUMN logged_at timestamptz;
ALTER TABLE public.changes ALTER COLUMN logged_at SET DEFAULT pg_catalog.clock_timestamp();
