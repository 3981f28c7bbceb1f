-- Products, their change log, and what the change log needs. PostgreSQL 15 and later.

-- Versions. CACHE 1 and NO CYCLE are the point: for one row they only rise, and none is used twice.
CREATE SEQUENCE public.product_version AS bigint START 1 MAXVALUE 549755813887 CACHE 1 NO CYCLE;

-- A number of the sequence, and 24 random bits below. Numbers are used again after the database is restored from a backup;
-- a precondition that names a version of the lost life must not hold for other content.
CREATE FUNCTION public.next_product_version() RETURNS bigint
LANGUAGE sql VOLATILE
AS $$
    SELECT pg_catalog.nextval('public.product_version'::pg_catalog.regclass) << 24
        | pg_catalog.floor(pg_catalog.random() * 16777216)::bigint
$$;

-- The text of a product as full text. Punctuation becomes space first, so that "USB-C" and "wi-fi.example" are the words
-- that a query is cut into, and not what the parser takes for compounds and host names. Declared IMMUTABLE because what
-- it calls depends on nothing but its arguments: the configuration is named, and text has no settings.
CREATE FUNCTION public.product_search_text(name text, categories text[], tags text[], description text)
RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT pg_catalog.setweight(pg_catalog.to_tsvector('pg_catalog.simple'::pg_catalog.regconfig,
               pg_catalog.translate(name, $p$!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~$p$, pg_catalog.repeat(' ', 32))), 'A')
        || pg_catalog.setweight(pg_catalog.to_tsvector('pg_catalog.simple'::pg_catalog.regconfig,
               pg_catalog.translate(pg_catalog.array_to_string(categories || tags, ' '),
                   $p$!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~$p$, pg_catalog.repeat(' ', 32))), 'B')
        || pg_catalog.setweight(pg_catalog.to_tsvector('pg_catalog.simple'::pg_catalog.regconfig,
               pg_catalog.translate(pg_catalog.left(description, 100000),
                   $p$!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~$p$, pg_catalog.repeat(' ', 32))), 'C')
$$;

CREATE TABLE public.products (
    id text COLLATE "C" NOT NULL PRIMARY KEY
        CONSTRAINT products_id_shape CHECK (id ~ '^[A-Za-z0-9._~-]{1,64}$'),
    -- Bounded because an index holds it.
    name text COLLATE "C" NOT NULL
        CONSTRAINT products_name_length CHECK (octet_length(name) <= 2048),
    description text NOT NULL DEFAULT '',
    -- '' means that there is no price.
    price_currency text COLLATE "C" NOT NULL DEFAULT '',
    price_units bigint NOT NULL DEFAULT 0,
    price_nanos integer NOT NULL DEFAULT 0,
    categories text[] NOT NULL DEFAULT '{}'
        CONSTRAINT products_categories_flat CHECK (
            coalesce(array_ndims(categories), 1) = 1 AND coalesce(array_lower(categories, 1), 1) = 1
            AND array_position(categories, NULL) IS NULL
        ),
    tags text[] NOT NULL DEFAULT '{}'
        CONSTRAINT products_tags_flat CHECK (
            coalesce(array_ndims(tags), 1) = 1 AND coalesce(array_lower(tags, 1), 1) = 1
            AND array_position(tags, NULL) IS NULL
        ),
    -- Strict, since a lax path would look into arrays.
    attributes jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT products_attributes_text CHECK (
            jsonb_typeof(attributes) = 'object'
            AND NOT jsonb_path_exists(attributes, 'strict $.* ? (@.type() != "string")')
        ),
    image_url text NOT NULL DEFAULT '',
    in_stock boolean NOT NULL DEFAULT false,
    create_time timestamptz NOT NULL DEFAULT now()
        CONSTRAINT products_create_time_range CHECK (
            create_time >= '0001-01-01 00:00:00+00' AND create_time < '10000-01-01 00:00:00+00'
        ),
    update_time timestamptz NOT NULL DEFAULT now()
        CONSTRAINT products_update_time_range CHECK (
            update_time >= '0001-01-01 00:00:00+00' AND update_time < '10000-01-01 00:00:00+00'
        ),
    -- The trigger overwrites whatever a statement says.
    version bigint NOT NULL DEFAULT 0,
    search tsvector GENERATED ALWAYS AS (public.product_search_text(name, categories, tags, description)) STORED,
    CONSTRAINT products_price_shape CHECK (
        (price_currency = '' AND price_units = 0 AND price_nanos = 0)
        OR (price_currency ~ '^[A-Z]{3}$' AND price_units >= 0 AND price_nanos BETWEEN 0 AND 999999999)
    )
);

CREATE INDEX products_by_create_time ON public.products (create_time, id);
CREATE INDEX products_by_update_time ON public.products (update_time, id);
CREATE INDEX products_by_name ON public.products (name, id);
CREATE INDEX products_by_price ON public.products (price_currency, price_units, price_nanos, id);
CREATE INDEX products_by_category ON public.products USING gin (categories);
CREATE INDEX products_by_tag ON public.products USING gin (tags);
CREATE INDEX products_by_word ON public.products USING gin (search);

-- The change log. Anybody may ask for an invalidation: INSERT INTO changes (kind, key) VALUES ('tag', 'summer');
CREATE TABLE public.changes (
    -- The transaction that wrote the row; the trigger below sees to it.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kind text NOT NULL
        CONSTRAINT changes_kind CHECK (kind IN ('put', 'delete', 'key', 'category', 'tag', 'pattern', 'all')),
    -- The product's id; for a category, a tag or a pattern, that.
    key text COLLATE "C" NOT NULL DEFAULT '',
    version bigint,
    -- Categories and tags of the old and the new row.
    categories text[] NOT NULL DEFAULT '{}',
    tags text[] NOT NULL DEFAULT '{}',
    CONSTRAINT changes_key CHECK ((kind = 'all') = (key = '')),
    CONSTRAINT changes_version CHECK ((kind IN ('put', 'delete')) = (version IS NOT NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX changes_by_xid ON public.changes (xid);

-- Every change below this transaction may be gone.
CREATE TABLE public.changes_pruned (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    below xid8 NOT NULL
);
INSERT INTO public.changes_pruned (below) VALUES ('0');

-- A crash, a promotion and a base backup empty an unlogged table; a clean restart does not.
CREATE UNLOGGED TABLE public.incarnation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO public.incarnation DEFAULT VALUES;

-- Request ids and what their first calls returned.
CREATE TABLE public.requests (
    id text COLLATE "C" PRIMARY KEY,
    fingerprint text NOT NULL,
    reply text,
    -- When the newest call of this id was signed, in seconds since 1970, where calls are signed.
    signed bigint,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX requests_by_time ON public.requests (create_time);

-- Trigger functions run as their owner, so that whoever may write products needs no right on the change log.

CREATE FUNCTION public.product_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.id <> OLD.id THEN
            RAISE EXCEPTION 'the id of a product cannot be changed'
                USING ERRCODE = 'integrity_constraint_violation',
                      HINT = 'Insert the product under its new id and delete the old one.';
        END IF;
        NEW.update_time := GREATEST(pg_catalog.clock_timestamp(), OLD.update_time);
    END IF;
    -- The row is locked by now, so that versions follow the order of the changes.
    NEW.version := public.next_product_version();
    RETURN NEW;
END
$$;

-- A transaction's first 2,000 changes are logged one by one, one `all` row stands for the rest. The count lives in a setting
-- that is local to the transaction: a rolled-back savepoint takes back both the rows and the count.
CREATE FUNCTION public.product_after_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    logged integer := coalesce(nullif(pg_catalog.current_setting('larder.logged', true), ''), '0')::integer;
BEGIN
    IF logged > 2000 THEN
        RETURN NULL;
    END IF;
    PERFORM pg_catalog.set_config('larder.logged', (logged + 1)::text, true);
    IF logged = 2000 THEN
        INSERT INTO public.changes (kind) VALUES ('all');
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO public.changes (kind, key, version, categories, tags)
        VALUES ('put', NEW.id, NEW.version, NEW.categories, NEW.tags);
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO public.changes (kind, key, version, categories, tags)
        VALUES (
            'put', NEW.id, NEW.version,
            CASE WHEN NEW.categories = OLD.categories THEN NEW.categories ELSE OLD.categories || NEW.categories END,
            CASE WHEN NEW.tags = OLD.tags THEN NEW.tags ELSE OLD.tags || NEW.tags END
        );
    ELSE
        INSERT INTO public.changes (kind, key, version, categories, tags)
        VALUES (
            'delete', OLD.id, public.next_product_version(),
            OLD.categories, OLD.tags
        );
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.product_after_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO public.changes (kind) VALUES ('all');
    RETURN NULL;
END
$$;

-- The notification only wakes followers early. It rules out PREPARE TRANSACTION; who needs that turns it off with
-- ALTER DATABASE … SET larder.notify = 'off', and followers find changes by looking.
CREATE FUNCTION public.change_before_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.xid := pg_catalog.pg_current_xact_id();
    IF pg_catalog.current_setting('larder.notified', true) IS DISTINCT FROM NEW.xid::text THEN
        PERFORM pg_catalog.set_config('larder.notified', NEW.xid::text, true);
        IF coalesce(pg_catalog.current_setting('larder.notify', true), '') NOT IN ('off', 'false', 'no', '0') THEN
            PERFORM pg_catalog.pg_notify('larder_changes', '');
        END IF;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER product_before_write BEFORE INSERT OR UPDATE ON public.products
    FOR EACH ROW EXECUTE FUNCTION public.product_before_write();
CREATE TRIGGER product_after_write AFTER INSERT OR UPDATE OR DELETE ON public.products
    FOR EACH ROW EXECUTE FUNCTION public.product_after_write();
CREATE TRIGGER product_after_truncate AFTER TRUNCATE ON public.products
    FOR EACH STATEMENT EXECUTE FUNCTION public.product_after_truncate();
CREATE TRIGGER change_before_insert BEFORE INSERT ON public.changes
    FOR EACH ROW EXECUTE FUNCTION public.change_before_insert();

-- ALWAYS: also for rows that logical replication applies, and under session_replication_role = replica.
ALTER TABLE public.products ENABLE ALWAYS TRIGGER product_before_write;
ALTER TABLE public.products ENABLE ALWAYS TRIGGER product_after_write;
ALTER TABLE public.products ENABLE ALWAYS TRIGGER product_after_truncate;
ALTER TABLE public.changes ENABLE ALWAYS TRIGGER change_before_insert;
