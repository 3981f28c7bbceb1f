-- A log that is whole, and rows that can be read. For rows to come: those that are there are left as they are.

ALTER TABLE public.changes ADD CONSTRAINT changes_terms_flat CHECK (
    coalesce(array_ndims(categories), 1) = 1 AND coalesce(array_ndims(tags), 1) = 1
    AND array_position(categories, NULL) IS NULL AND array_position(tags, NULL) IS NULL
) NOT VALID;
ALTER TABLE public.changes ADD CONSTRAINT changes_key_length CHECK (octet_length(key) <= 524288) NOT VALID;
ALTER TABLE public.products ADD CONSTRAINT products_text_length CHECK (
    octet_length(name) + octet_length(description) + octet_length(image_url) + octet_length(array_to_string(categories || tags, ''))
        + octet_length(attributes::text) <= 3145728
) NOT VALID;

-- The triggers as the followers saw them last, and the first snapshot that saw them so. Only a look from a later snapshot than that
-- may go on from it: of a subtransaction that altered them no snapshot tells whether it was under way.
CREATE TABLE public.triggers_seen (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    altered text NOT NULL,
    since pg_snapshot NOT NULL
);
