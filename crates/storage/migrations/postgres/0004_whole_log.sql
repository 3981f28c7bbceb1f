-- A log that is whole, and rows that can be read. For rows to come: those that are there are left as they are.

ALTER TABLE public.changes ADD CONSTRAINT changes_terms_flat CHECK (
    coalesce(array_ndims(categories), 1) = 1 AND coalesce(array_ndims(tags), 1) = 1
    AND array_position(categories, NULL) IS NULL AND array_position(tags, NULL) IS NULL
) NOT VALID;

-- The triggers as the followers saw them last, and the first snapshot that saw them so. Only a look from a later snapshot than that
-- may go on from it: of a subtransaction that altered them no snapshot tells whether it was under way.
CREATE TABLE public.triggers_seen (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    altered text NOT NULL,
    since pg_snapshot NOT NULL
);
