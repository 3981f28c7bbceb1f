-- Searching that finds products in any script, under any locale of the database. The functions below cut the text of a product
-- into words and fold them; to_tsvector's parser, which goes by the locale, no longer does. src/search.rs cuts and folds a query
-- alike.
--
-- The column is made anew. That rewrites the table and its indexes under an exclusive lock; it changes no product and fires no
-- trigger. Replicas of the release before this one go on searching the new column: they find words without accents, and not those
-- that have some, until they are updated.

ALTER TABLE public.products DROP COLUMN search;
DROP FUNCTION public.product_search_text(text, text[], text[], text);

-- The words of a text, folded, with spaces between them.
--
-- Folded means: compatibility forms are decomposed (normalization form KD of Unicode 14), letters are small and without strokes
-- (ß is ss, ø is o, æ is ae), accents are gone. Vowel signs of scripts that write vowels as marks stay. Nothing here asks a
-- collation what a letter is: lists and ranges of code points do, so that the result is the same in every database.
--
-- Where a script puts no spaces between words, the words are all pairs of neighbours, and the first and the last character.
--
-- Immutable: Unicode never changes the decomposition of a character that it has, and letters that later versions of Unicode
-- give one are spaces here.
CREATE FUNCTION public.search_words(value text, most integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    x text COLLATE "C" := left(value, most);
BEGIN
    IF octet_length(x) > length(x) THEN
        -- Trade marks are not letters, whatever they decompose to; nor are letters younger than Unicode 14 that decompose.
        x := regexp_replace(x,
            '[\u0558\u058b\u058c\u209d-\u209f\u2120\u2122\ua7f1\U000105c9\U000105e4\U000107bb-\U000107bf\U00011383'
            '\U00011385\U0001138e\U00011391\U000113c5\U000113c7\U000113c8\U00016121-\U00016128\U00016d68-\U00016d6a'
            '\U0001b123-\U0001b126\U0001ccd6-\U0001ccf9\U0001d6a6\U0001df95\U0001dfcd-\U0001dfff'
            '\U0001e030-\U0001e06d]',
            ' ', 'g');
        x := lower(normalize(x, NFKD));
        -- Latin.
        IF x ~ '[\u00d0-\u0167]' THEN
            x := translate(x,
                'ÐØðøĐđĦħıŁłŊŦŧ',
                'dododdhhillŋtt');
        END IF;
        -- Latin, extended.
        IF x ~ '[\u0181-\u024e]' THEN
            x := translate(x,
                'ƁƂƄƆƇƉƊƋƎƏƐƑƓƔƖƗƘƜƝƟƢƤƦƧƩƬƮƱƲƳƵƷƸƼǤǶǷȜȠȢȤȺȻȽȾɁɃɄɅɆɈɊɌɎ',
                'ɓƃƅɔƈɖɗƌǝəɛƒɠɣɩɨƙɯɲɵƣƥʀƨʃƭʈʊʋƴƶʒƹƽǥƕƿȝƞȣȥⱥȼƚⱦɂƀʉʌɇɉɋɍɏ');
        END IF;
        -- Greek.
        IF x ~ '[\u0370-\u03cf]' THEN
            x := translate(x,
                'ͰͲͶͿΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩςϏ',
                'ͱͳͷϳαβγδεζηθικλμνξοπρστυφχψωσϗ');
        END IF;
        -- Cyrillic.
        IF x ~ '[\u0402-\u042f]' THEN
            x := translate(x,
                'ЂЄЅІЈЉЊЋЏАБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ',
                'ђєѕіјљњћџабвгдежзиклмнопрстуфхцчшщъыьэюя');
        END IF;
        -- Cyrillic, extended.
        IF x ~ '[\u0460-\u052e]' THEN
            x := translate(x,
                'ѠѢѤѦѨѪѬѮѰѲѴѸѺѼѾҀҊҌҎҐҒҔҖҘҚҜҞҠҢҤҦҨҪҬҮҰҲҴҶҸҺҼҾӀӃӅӇӉӋӍӔӘӠӨӶӺӼӾԀԂԄԆԈԊԌԎԐԒԔԖԘԚԜԞԠԢԤԦԨԪԬ'
                'Ԯ',
                'ѡѣѥѧѩѫѭѯѱѳѵѹѻѽѿҁҋҍҏґғҕҗҙқҝҟҡңҥҧҩҫҭүұҳҵҷҹһҽҿӏӄӆӈӊӌӎӕәӡөӷӻӽӿԁԃԅԇԉԋԍԏԑԓԕԗԙԛԝԟԡԣԥԧԩԫԭ'
                'ԯ');
        END IF;
        -- Armenian.
        IF x ~ '[\u0531-\u0556]' THEN
            x := translate(x,
                'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ',
                'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ');
        END IF;
        -- Georgian.
        IF x ~ '[\u10a0-\u10cd\u1c90-\u1cbf]' THEN
            x := translate(x,
                'ႠႡႢႣႤႥႦႧႨႩႪႫႬႭႮႯႰႱႲႳႴႵႶႷႸႹႺႻႼႽႾႿჀჁჂჃჄჅჇჍᲐᲑᲒᲓᲔᲕᲖᲗᲘᲙᲚᲛᲜᲝᲞᲟᲠᲡᲢᲣᲤᲥᲦᲧᲨᲩᲪᲫᲬᲭᲮᲯᲰᲱᲲᲳᲴᲵᲶᲷᲸ'
                'ᲹᲺᲽᲾᲿ',
                'ⴀⴁⴂⴃⴄⴅⴆⴇⴈⴉⴊⴋⴌⴍⴎⴏⴐⴑⴒⴓⴔⴕⴖⴗⴘⴙⴚⴛⴜⴝⴞⴟⴠⴡⴢⴣⴤⴥⴧⴭაბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰჱჲჳჴჵჶჷჸ'
                'ჹჺჽჾჿ');
        END IF;
        -- What few write.
        IF x ~ '[\u03d8-\u03ff\u13f8-\u13fd\u1c80-\u1c89\u1efa-\u1efe\u2132\u2183\u2c00-\u2cf2\ua640-\ua69a'
                '\ua722-\ua7f5\uab70-\uabbf\U00010400-\U00010427\U000104b0-\U000104d3\U00010570-\U00010595'
                '\U00010c80-\U00010cb2\U00010d50-\U00010d65\U000118a0-\U000118bf\U00016e40-\U00016e5f'
                '\U00016ea0-\U00016eb8\U0001e900-\U0001e921]' THEN
            x := translate(x,
                'ϘϚϜϞϠϢϤϦϨϪϬϮϷϺϽϾϿᏸᏹᏺᏻᏼᏽᲀᲁᲂᲃᲄᲅᲆᲇᲈᲉỺỼỾℲↃⰀⰁⰂⰃⰄⰅⰆⰇⰈⰉⰊⰋⰌⰍⰎⰏⰐⰑⰒⰓⰔⰕⰖⰗⰘⰙⰚⰛⰜⰝⰞⰟⰠⰡⰢⰣⰤⰥⰦⰧⰨⰩⰪ'
                'ⰫⰬⰭⰮⰯⱠⱢⱣⱤⱧⱩⱫⱭⱮⱯⱰⱲⱵⱾⱿⲀⲂⲄⲆⲈⲊⲌⲎⲐⲒⲔⲖⲘⲚⲜⲞⲠⲢⲤⲦⲨⲪⲬⲮⲰⲲⲴⲶⲸⲺⲼⲾⳀⳂⳄⳆⳈⳊⳌⳎⳐⳒⳔⳖⳘⳚⳜⳞⳠⳢⳫⳭⳲꙀꙂꙄꙆꙈꙊꙌꙎ'
                'ꙐꙒꙔꙖꙘꙚꙜꙞꙠꙢꙤꙦꙨꙪꙬꚀꚂꚄꚆꚈꚊꚌꚎꚐꚒꚔꚖꚘꚚꜢꜤꜦꜨꜪꜬꜮꜲꜴꜶꜸꜺꜼꜾꝀꝂꝄꝆꝈꝊꝌꝎꝐꝒꝔꝖꝘꝚꝜꝞꝠꝢꝤꝦꝨꝪꝬꝮꝹꝻꝽꝾꞀꞂꞄꞆꞋꞍꞐꞒꞖꞘ'
                'ꞚꞜꞞꞠꞢꞤꞦꞨꞪꞫꞬꞭꞮꞰꞱꞲꞳꞴꞶꞸꞺꞼꞾꟀꟂꟄꟅꟆꟇꟉꟋꟌ꟎Ꟑ꟒꟔ꟖꟘꟚꟜꟵꭰꭱꭲꭳꭴꭵꭶꭷꭸꭹꭺꭻꭼꭽꭾꭿꮀꮁꮂꮃꮄꮅꮆꮇꮈꮉꮊꮋꮌꮍꮎꮏꮐꮑꮒꮓꮔꮕꮖꮗ'
                'ꮘꮙꮚꮛꮜꮝꮞꮟꮠꮡꮢꮣꮤꮥꮦꮧꮨꮩꮪꮫꮬꮭꮮꮯꮰꮱꮲꮳꮴꮵꮶꮷꮸꮹꮺꮻꮼꮽꮾꮿ𐐀𐐁𐐂𐐃𐐄𐐅𐐆𐐇𐐈𐐉𐐊𐐋𐐌𐐍𐐎𐐏𐐐𐐑𐐒𐐓𐐔𐐕𐐖𐐗𐐘𐐙𐐚𐐛𐐜𐐝𐐞𐐟𐐠𐐡𐐢𐐣𐐤𐐥𐐦𐐧𐒰'
                '𐒱𐒲𐒳𐒴𐒵𐒶𐒷𐒸𐒹𐒺𐒻𐒼𐒽𐒾𐒿𐓀𐓁𐓂𐓃𐓄𐓅𐓆𐓇𐓈𐓉𐓊𐓋𐓌𐓍𐓎𐓏𐓐𐓑𐓒𐓓𐕰𐕱𐕲𐕳𐕴𐕵𐕶𐕷𐕸𐕹𐕺𐕼𐕽𐕾𐕿𐖀𐖁𐖂𐖃𐖄𐖅𐖆𐖇𐖈𐖉𐖊𐖌𐖍𐖎𐖏𐖐𐖑𐖒𐖔𐖕𐲀𐲁𐲂𐲃𐲄𐲅𐲆𐲇𐲈𐲉𐲊'
                '𐲋𐲌𐲍𐲎𐲏𐲐𐲑𐲒𐲓𐲔𐲕𐲖𐲗𐲘𐲙𐲚𐲛𐲜𐲝𐲞𐲟𐲠𐲡𐲢𐲣𐲤𐲥𐲦𐲧𐲨𐲩𐲪𐲫𐲬𐲭𐲮𐲯𐲰𐲱𐲲𐵐𐵑𐵒𐵓𐵔𐵕𐵖𐵗𐵘𐵙𐵚𐵛𐵜𐵝𐵞𐵟𐵠𐵡𐵢𐵣𐵤𐵥𑢠𑢡𑢢𑢣𑢤𑢥𑢦𑢧𑢨𑢩𑢪𑢫𑢬𑢭𑢮𑢯𑢰𑢱𑢲'
                '𑢳𑢴𑢵𑢶𑢷𑢸𑢹𑢺𑢻𑢼𑢽𑢾𑢿𖹀𖹁𖹂𖹃𖹄𖹅𖹆𖹇𖹈𖹉𖹊𖹋𖹌𖹍𖹎𖹏𖹐𖹑𖹒𖹓𖹔𖹕𖹖𖹗𖹘𖹙𖹚𖹛𖹜𖹝𖹞𖹟𖺠𖺡𖺢𖺣𖺤𖺥𖺦𖺧𖺨𖺩𖺪𖺫𖺬𖺭𖺮𖺯𖺰𖺱𖺲𖺳𖺴𖺵𖺶𖺷𖺸𞤀𞤁𞤂𞤃𞤄𞤅𞤆𞤇𞤈𞤉𞤊'
                '𞤋𞤌𞤍𞤎𞤏𞤐𞤑𞤒𞤓𞤔𞤕𞤖𞤗𞤘𞤙𞤚𞤛𞤜𞤝𞤞𞤟𞤠𞤡',
                'ϙϛϝϟϡϣϥϧϩϫϭϯϸϻͻͼͽᏰᏱᏲᏳᏴᏵвдосттъѣꙋᲊỻỽỿⅎↄⰰⰱⰲⰳⰴⰵⰶⰷⰸⰹⰺⰻⰼⰽⰾⰿⱀⱁⱂⱃⱄⱅⱆⱇⱈⱉⱊⱋⱌⱍⱎⱏⱐⱑⱒⱓⱔⱕⱖⱗⱘⱙⱚ'
                'ⱛⱜⱝⱞⱟⱡɫᵽɽⱨⱪⱬɑɱɐɒⱳⱶȿɀⲁⲃⲅⲇⲉⲋⲍⲏⲑⲓⲕⲗⲙⲛⲝⲟⲡⲣⲥⲧⲩⲫⲭⲯⲱⲳⲵⲷⲹⲻⲽⲿⳁⳃⳅⳇⳉⳋⳍⳏⳑⳓⳕⳗⳙⳛⳝⳟⳡⳣⳬⳮⳳꙁꙃꙅꙇꙉꙋꙍꙏ'
                'ꙑꙓꙕꙗꙙꙛꙝꙟꙡꙣꙥꙧꙩꙫꙭꚁꚃꚅꚇꚉꚋꚍꚏꚑꚓꚕꚗꚙꚛꜣꜥꜧꜩꜫꜭꜯꜳꜵꜷꜹꜻꜽꜿꝁꝃꝅꝇꝉꝋꝍꝏꝑꝓꝕꝗꝙꝛꝝꝟꝡꝣꝥꝧꝩꝫꝭꝯꝺꝼᵹꝿꞁꞃꞅꞇꞌɥꞑꞓꞗꞙ'
                'ꞛꞝꞟꞡꞣꞥꞧꞩɦɜɡɬɪʞʇʝꭓꞵꞷꞹꞻꞽꞿꟁꟃꞔʂᶎꟈꟊɤꟍ꟏ꟑꟓꟕꟗꟙꟛƛꟶᎠᎡᎢᎣᎤᎥᎦᎧᎨᎩᎪᎫᎬᎭᎮᎯᎰᎱᎲᎳᎴᎵᎶᎷᎸᎹᎺᎻᎼᎽᎾᎿᏀᏁᏂᏃᏄᏅᏆᏇ'
                'ᏈᏉᏊᏋᏌᏍᏎᏏᏐᏑᏒᏓᏔᏕᏖᏗᏘᏙᏚᏛᏜᏝᏞᏟᏠᏡᏢᏣᏤᏥᏦᏧᏨᏩᏪᏫᏬᏭᏮᏯ𐐨𐐩𐐪𐐫𐐬𐐭𐐮𐐯𐐰𐐱𐐲𐐳𐐴𐐵𐐶𐐷𐐸𐐹𐐺𐐻𐐼𐐽𐐾𐐿𐑀𐑁𐑂𐑃𐑄𐑅𐑆𐑇𐑈𐑉𐑊𐑋𐑌𐑍𐑎𐑏𐓘'
                '𐓙𐓚𐓛𐓜𐓝𐓞𐓟𐓠𐓡𐓢𐓣𐓤𐓥𐓦𐓧𐓨𐓩𐓪𐓫𐓬𐓭𐓮𐓯𐓰𐓱𐓲𐓳𐓴𐓵𐓶𐓷𐓸𐓹𐓺𐓻𐖗𐖘𐖙𐖚𐖛𐖜𐖝𐖞𐖟𐖠𐖡𐖣𐖤𐖥𐖦𐖧𐖨𐖩𐖪𐖫𐖬𐖭𐖮𐖯𐖰𐖱𐖳𐖴𐖵𐖶𐖷𐖸𐖹𐖻𐖼𐳀𐳁𐳂𐳃𐳄𐳅𐳆𐳇𐳈𐳉𐳊'
                '𐳋𐳌𐳍𐳎𐳏𐳐𐳑𐳒𐳓𐳔𐳕𐳖𐳗𐳘𐳙𐳚𐳛𐳜𐳝𐳞𐳟𐳠𐳡𐳢𐳣𐳤𐳥𐳦𐳧𐳨𐳩𐳪𐳫𐳬𐳭𐳮𐳯𐳰𐳱𐳲𐵰𐵱𐵲𐵳𐵴𐵵𐵶𐵷𐵸𐵹𐵺𐵻𐵼𐵽𐵾𐵿𐶀𐶁𐶂𐶃𐶄𐶅𑣀𑣁𑣂𑣃𑣄𑣅𑣆𑣇𑣈𑣉𑣊𑣋𑣌𑣍𑣎𑣏𑣐𑣑𑣒'
                '𑣓𑣔𑣕𑣖𑣗𑣘𑣙𑣚𑣛𑣜𑣝𑣞𑣟𖹠𖹡𖹢𖹣𖹤𖹥𖹦𖹧𖹨𖹩𖹪𖹫𖹬𖹭𖹮𖹯𖹰𖹱𖹲𖹳𖹴𖹵𖹶𖹷𖹸𖹹𖹺𖹻𖹼𖹽𖹾𖹿𖺻𖺼𖺽𖺾𖺿𖻀𖻁𖻂𖻃𖻄𖻅𖻆𖻇𖻈𖻉𖻊𖻋𖻌𖻍𖻎𖻏𖻐𖻑𖻒𖻓𞤢𞤣𞤤𞤥𞤦𞤧𞤨𞤩𞤪𞤫𞤬'
                '𞤭𞤮𞤯𞤰𞤱𞤲𞤳𞤴𞤵𞤶𞤷𞤸𞤹𞤺𞤻𞤼𞤽𞤾𞤿𞥀𞥁𞥂𞥃');
        END IF;
        x := replace(replace(replace(replace(x, 'ß', 'ss'), 'ẞ', 'ss'), 'œ', 'oe'), 'Œ', 'oe');
        x := replace(replace(replace(replace(x, 'æ', 'ae'), 'Æ', 'ae'), 'þ', 'th'), 'Þ', 'th');
        -- Accents, and what is not seen.
        x := regexp_replace(x,
            '[\u00ad\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7-\u05c9\u0600-\u0605'
            '\u0610-\u061a\u061c\u0640\u064b-\u065f\u0670\u06d6-\u06dd\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u070f'
            '\u0711\u0730-\u074a\u07eb-\u07f3\u07fa\u07fd\u0816-\u0819\u081b-\u0823\u0825-\u0827\u0829-\u082d'
            '\u0859-\u085b\u0890\u0891\u0897-\u089f\u08ca-\u08ff\u093c\u0951-\u0954\u09bc\u09fe\u0a3c\u0abc\u0b3c'
            '\u0c3c\u0c55\u0c56\u0cbc\u0e3a\u0e48-\u0e4b\u0eba\u0ec8-\u0ecb\u0f18\u0f19\u0f35\u0f37\u0f39\u0f71'
            '\u0f82-\u0f84\u0f86\u0f87\u0fc6\u1037\u108d\u115f\u1160\u135d-\u135f\u17b4\u17b5\u17dd\u180b-\u180f'
            '\u18a9\u1939-\u193b\u1a17\u1a18\u1a75-\u1a7c\u1a7f\u1ab0-\u1af0\u1b34\u1b6b-\u1b73\u1be6\u1c37'
            '\u1cd0-\u1cd2\u1cd4-\u1ce0\u1ce2-\u1ce8\u1ced\u1cf4\u1cf8\u1cf9\u1dc0-\u1dff\u200c-\u200f\u202a-\u202e'
            '\u2060-\u2064\u2066-\u206f\u20d0-\u20f0\u2cef-\u2cf1\u2de0-\u2dff\u302a-\u302f\ua66f-\ua672'
            '\ua674-\ua67d\ua69e\ua69f\ua6f0\ua6f1\ua8e0-\ua8f1\ua92b-\ua92d\ua9b3\uaab0\uaab2-\uaab4\uaab7\uaab8'
            '\uaabe\uaabf\uaac1\ufb1e\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\ufff9-\ufffb\U000101fd\U000102e0'
            '\U00010376-\U0001037a\U00010a0d\U00010a0f\U00010a38-\U00010a3a\U00010ae5\U00010ae6\U00010d24-\U00010d27'
            '\U00010d69-\U00010d6d\U00010eab\U00010eac\U00010ecb-\U00010ecf\U00010ef0-\U00010efb'
            '\U00010efd-\U00010eff\U00010f46-\U00010f50\U00010f82-\U00010f85\U000110ba\U000110bd\U000110cd'
            '\U00011100-\U00011102\U00011173\U000111ca\U00011236\U000112e9\U0001133b\U0001133c\U00011366-\U0001136c'
            '\U00011370-\U00011374\U00011446\U0001145e\U000114c3\U000115c0\U000116b7\U0001183a\U00011943\U00011d42'
            '\U00013430-\U0001343f\U00016af0-\U00016af4\U00016b30-\U00016b36\U00016ff0\U00016ff1\U0001bc9e'
            '\U0001bca0-\U0001bca3\U0001d127\U0001d128\U0001d165-\U0001d169\U0001d16d-\U0001d182'
            '\U0001d185-\U0001d18b\U0001d1aa-\U0001d1ad\U0001d242-\U0001d244\U0001d250-\U0001d252\U0001d25b'
            '\U0001d25c\U0001d25f\U0001d280\U0001d281\U0001e000-\U0001e006\U0001e008-\U0001e018\U0001e01b-\U0001e021'
            '\U0001e023\U0001e024\U0001e026-\U0001e02a\U0001e08f\U0001e130-\U0001e136\U0001e2ae\U0001e2ec-\U0001e2ef'
            '\U0001e4ec-\U0001e4ef\U0001e5ee\U0001e5ef\U0001e6e3\U0001e6e6\U0001e6ee\U0001e6ef\U0001e6f5'
            '\U0001e8d0-\U0001e8d6\U0001e944-\U0001e94a\U000e0001\U000e0020-\U000e007f\U000e0100-\U000e01ef]+',
            '', 'g');
        -- Everything else that is no letter, no digit and no vowel sign; spaces already are what they become.
        x := left(regexp_replace(x,
            '[\u0001-\u001f\u0021-\u002f\u003a-\u0060\u007b-\u007f\u0080-\u00ac\u00ae-\u00bf\u00d7\u00f7'
            '\u02b9-\u02bf\u02c2-\u02c5\u02d2-\u02eb\u02ed\u02ef-\u02ff\u0375\u03f6\u0482\u055a-\u055f\u0589-\u058f'
            '\u05be\u05c0\u05c3\u05c6\u05f3\u05f4\u0606-\u060f\u061b\u061d-\u061f\u066a-\u066d\u06d4\u06de\u06e9'
            '\u06fd\u06fe\u0700-\u070d\u07f6-\u07f9\u07fe\u07ff\u0830-\u083e\u085e\u0888\u0964\u0965\u0970\u09f2'
            '\u09f3\u09fa\u09fb\u09fd\u0a76\u0af0\u0af1\u0b70\u0bf3-\u0bfa\u0c77\u0c7f\u0c84\u0d4f\u0d79\u0df4\u0e3f'
            '\u0e4f\u0e5a\u0e5b\u0f01-\u0f17\u0f1a-\u0f1f\u0f34\u0f36\u0f38\u0f3a-\u0f3d\u0f85\u0fbe-\u0fc5'
            '\u0fc7-\u0fda\u104a-\u104f\u109e\u109f\u10fb\u1360-\u1368\u1390-\u1399\u1400\u166d\u166e\u1680\u169b'
            '\u169c\u16eb-\u16ed\u1735\u1736\u17d4-\u17d6\u17d8-\u17db\u1800-\u180a\u1940-\u1945\u19de-\u19ff\u1a1e'
            '\u1a1f\u1aa0-\u1aa6\u1aa8-\u1aad\u1b4e\u1b4f\u1b5a-\u1b6a\u1b74-\u1b7f\u1bfc-\u1bff\u1c3b-\u1c3f\u1c7e'
            '\u1c7f\u1cc0-\u1cc7\u1cd3\u1fff-\u200b\u2010-\u2029\u2030-\u205e\u20a0-\u20c4\u2104-\u212e\u213a-\u214d'
            '\u214f\u218a-\u244a\u2500-\u2775\u2794-\u2bff\u2ce5-\u2cea\u2cf9-\u2cfc\u2cfe\u2cff\u2d70\u2e00-\u2e2e'
            '\u2e30-\u2ef2\u2ff0-\u3004\u3008-\u3020\u3030\u3037\u303d-\u303f\u30a0\u30fb\u3190\u3191\u31c0-\u31ef'
            '\u327f\u4dc0-\u4dff\ua490-\ua4c6\ua4fe\ua4ff\ua60d-\ua60f\ua673\ua67e\ua6f2-\ua716\ua720\ua721\ua789'
            '\ua78a\ua828-\ua82b\ua836-\ua839\ua874-\ua877\ua8ce\ua8cf\ua8f8-\ua8fa\ua8fc\ua92e\ua92f\ua95f'
            '\ua9c1-\ua9cd\ua9de\ua9df\uaa5c-\uaa5f\uaa77-\uaa79\uaade\uaadf\uaaf0\uaaf1\uab5b\uab6a\uab6b\uabeb'
            '\ue000-\uf8ff\ufbb2-\ufdcf\ufdfd-\ufdff\ufe45-\ufe6f\ufe75\uffe7\ufffc-\uffff\U00010100-\U00010102'
            '\U00010137-\U0001013f\U00010179-\U00010189\U0001018c-\U000101fc\U0001039f\U000103d0\U0001056f\U00010857'
            '\U00010877\U00010878\U0001091f\U0001093f\U00010a50-\U00010a58\U00010a7f\U00010ac8\U00010af0-\U00010af6'
            '\U00010b39-\U00010b3f\U00010b99-\U00010b9c\U00010d6e\U00010d8e\U00010d8f\U00010ead\U00010ec9\U00010eca'
            '\U00010ed0-\U00010ed8\U00010f55-\U00010f59\U00010f86-\U00010f89\U00011047-\U0001104d\U000110bb'
            '\U000110bc\U000110be-\U000110c1\U00011140-\U00011143\U00011174\U00011175\U000111c5-\U000111c8\U000111cd'
            '\U000111db\U000111dd-\U000111df\U00011238-\U0001123d\U000112a9\U000113c6\U000113d4-\U000113d8'
            '\U0001144b-\U0001144f\U0001145a-\U0001145d\U000114c6\U000115c1-\U000115d7\U00011641-\U00011643'
            '\U00011660-\U0001166c\U000116b9\U0001173c-\U0001173f\U0001183b\U00011944-\U00011946\U000119e2'
            '\U00011a3f-\U00011a46\U00011a9a-\U00011a9c\U00011a9e-\U00011aa2\U00011b00-\U00011b09\U00011be1'
            '\U00011c41-\U00011c45\U00011c70\U00011c71\U00011ef7\U00011ef8\U00011f43-\U00011f4f\U00011fd5-\U00011fff'
            '\U00012470-\U00012474\U00012ff1\U00012ff2\U00016a6e\U00016a6f\U00016af5\U00016b37-\U00016b3f\U00016b44'
            '\U00016b45\U00016d6d-\U00016d6f\U00016e97-\U00016e9a\U00016fe2\U0001bc9c\U0001bc9f\U0001cc00-\U0001cefd'
            '\U0001cf50-\U0001d126\U0001d129-\U0001d15d\U0001d16a-\U0001d16c\U0001d183\U0001d184'
            '\U0001d18c-\U0001d1a9\U0001d1ae-\U0001d241\U0001d245\U0001d253-\U0001d25a\U0001d25d\U0001d25e'
            '\U0001d260-\U0001d27f\U0001d300-\U0001d356\U0001d800-\U0001d9ff\U0001da37-\U0001da3a'
            '\U0001da6d-\U0001da74\U0001da76-\U0001da83\U0001da85-\U0001da8b\U0001db00-\U0001db1c\U0001e14f'
            '\U0001e2ff\U0001e5ff\U0001e95e\U0001e95f\U0001ecac\U0001ecb0\U0001ed2e\U0001eef0-\U0001f0f5'
            '\U0001f10d-\U0001f1ff\U0001f260-\U0001ffff\U0002fffe\U0002ffff\U0003fffe-\U000dffff'
            '\U000efffe-\U0010ffff]+',
            ' ', 'g'), most);
    ELSE
        x := regexp_replace(lower(x), '[\u0001-\u001f\u0021-\u002f\u003a-\u0060\u007b-\u007f]+', ' ', 'g');
    END IF;
    -- Chinese, Japanese, Thai, Lao, Khmer, Burmese, Javanese, Balinese and some more: "abc" becomes "a ab bc c".
    IF x ~
            '[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\u2fdf'
            '\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3041-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf'
            '\u4e00-\u9fff\ua980-\ua9ff\uaa60-\uaadf\uf900-\ufaff\U00011700-\U0001174f\U0001aff0-\U0001b16f'
            '\U00020000-\U0003fffd]'
    THEN
        x := regexp_replace(left(x, most / 2),
            '([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\u2fdf'
            '\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3041-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf'
            '\u4e00-\u9fff\ua980-\ua9ff\uaa60-\uaadf\uf900-\ufaff\U00011700-\U0001174f\U0001aff0-\U0001b16f'
            '\U00020000-\U0003fffd]+)',
            ' \1 ', 'g');
        x := regexp_replace(x,
            '([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\u2fdf'
            '\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3041-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf'
            '\u4e00-\u9fff\ua980-\ua9ff\uaa60-\uaadf\uf900-\ufaff\U00011700-\U0001174f\U0001aff0-\U0001b16f'
            '\U00020000-\U0003fffd])',
            '\1 \1', 'g');
    END IF;
    RETURN x;
END
$$;

-- The text of a product as full text: the name weighs most, then categories and tags, then the description. The limits keep
-- the whole below the megabyte that a tsvector may have. Words of a name stand before others, for ranks count distances.
CREATE FUNCTION public.product_search_text(name text, categories text[], tags text[], description text)
RETURNS tsvector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    words text[] := string_to_array(public.search_words(name, 2048), ' ');
    names integer := cardinality(words);
    terms integer;
BEGIN
    words := words || string_to_array(public.search_words(array_to_string(categories || tags, ' '), 20000), ' ');
    terms := cardinality(words);
    words := words || string_to_array(public.search_words(description, 100000), ' ');
    RETURN (
        SELECT coalesce(string_agg(
            '''' || left(word, 128) || ''':' || place
                || CASE WHEN place <= names THEN 'A' WHEN place <= terms THEN 'B' ELSE 'C' END, ' '), '')::tsvector
        FROM unnest(words) WITH ORDINALITY AS w(word, place)
        WHERE word <> ''
    );
END
$$;

ALTER TABLE public.products ADD COLUMN search tsvector
    GENERATED ALWAYS AS (public.product_search_text(name, categories, tags, description)) STORED;
CREATE INDEX products_by_word ON public.products USING gin (search);
