-- Tells a change from one of the same transaction id in another life of the database: after a restore ids are used again. A
-- token names its commit by both. The rows that are there get a salt each.
ALTER TABLE public.changes
    ADD COLUMN salt bigint NOT NULL
    DEFAULT pg_catalog.floor((pg_catalog.random() - 0.5) * 9007199254740992)::bigint;
